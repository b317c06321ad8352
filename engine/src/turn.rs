//! A turn's business with the disk: which command is due, and whom its answer concerns.

use crate::disk::{DiskCommand, DiskDone, DiskError};
use crate::shard::Shard;

impl Shard {
    /// The next command to the disk that is due. Call until `None` at each turn's end.
    ///
    /// # Panics
    /// If the shard contradicts itself ([`Shard::check_invariants`]).
    pub fn poll_disk(&mut self) -> Option<DiskCommand> {
        let due = self
            .poll_prepare()
            .or_else(|| self.poll_log_write())
            .or_else(|| self.poll_rewind())
            .or_else(|| self.poll_footer())
            .or_else(|| self.poll_mend());
        if due.is_none() {
            self.check_invariants();
        }
        due
    }

    /// Takes the answer to a command.
    ///
    /// # Errors
    /// The command failed and what it was for is in doubt: the node must give up this shard (rule 14). A full
    /// disk at [`crate::disk::DiskWork::PrepareSegment`] is no such failure, see [`Shard::disk_full`].
    ///
    /// # Panics
    /// At a ticket that is not in flight.
    pub fn disk_done(&mut self, done: DiskDone) -> Result<(), DiskError> {
        let DiskDone { ticket, result } = done;
        if self.flights.is_write(ticket) {
            result?;
            self.log_write_done(ticket);
            return Ok(());
        }
        if self.flights.take_pulse(ticket) {
            return result;
        }
        if let Some(piece) = self.flights.take_footer(ticket) {
            result?;
            self.footer_piece_done(&piece);
            return Ok(());
        }
        if self.mending.take_if(|rewrite| rewrite.is(ticket)).is_some() {
            return result;
        }
        if let Some(file) = self.segments.preparing(ticket) {
            return file.prepared(result);
        }
        self.rewind_step_done(ticket, result)
    }
}
