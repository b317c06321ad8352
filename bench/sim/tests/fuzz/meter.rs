//! This test's allocator is the one that counts.

pub use engine::testing::meter::within;

#[global_allocator]
static METERED: engine::testing::meter::Metered = engine::testing::meter::Metered;
