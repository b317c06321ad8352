//! The `baton` binary: reads the command line, runs the subcommand, turns its end into an exit code.

use baton_tools::cli::{Baton, Bench, Subcommand};
use baton_tools::{bench, handoff, inspect, password, promote, serve, start, status};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let result = match Baton::parse().command {
        Subcommand::Start(options) => start::run(&options),
        Subcommand::Serve(options) => serve::serve(&options),
        Subcommand::Witness(options) => serve::witness(&options),
        Subcommand::Node(options) => serve::node(&options),
        Subcommand::Status(options) => status::run(&options),
        Subcommand::Handoff(options) => handoff::run(&options),
        Subcommand::Promote(options) => promote::run(&options),
        Subcommand::HashPassword(options) => password::run(&options),
        Subcommand::Inspect(what) => inspect::run(&what),
        Subcommand::Bench(Bench::Load(options)) => bench::load(&options),
        Subcommand::Bench(Bench::Failover(options)) => bench::failover(&options),
        Subcommand::Bench(Bench::Steady(options)) => bench::steady(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("baton: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
