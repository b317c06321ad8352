//! `baton start`: a whole group on this machine, kept running until Ctrl-C.
//!
//! Reading order: [`layout`] (the files), [`ports`], [`supervise`] (the child processes), [`ready`]. Each
//! child is a warden (`baton serve` or `baton witness`) with its own log. Should this process be killed, the
//! kernel sends every child SIGTERM, which is an orderly stop: nothing is orphaned.

pub mod layout;
mod ports;
pub mod ready;
mod supervise;

use crate::cli::StartOptions;
use crate::failure::{Failure, not_fine};
use faces::auth::password::Secret;
use layout::Layout;
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use supervise::{Notice, Wardens};

/// Longest sleep of the supervisor; signals wake it at once.
const IDLE: Duration = Duration::from_secs(3600);

/// Runs the subcommand.
pub fn run(options: &StartOptions) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGCHLD]).map_err(not_fine)?;
    let (sender, incoming) = mpsc::channel();
    // Ends with the process.
    std::thread::spawn(move || signals.forever().try_for_each(|signal| sender.send(signal)));

    let Layout { members, made_up } = layout::find_or_make(options)?;
    if let Some(Secret(password)) = &made_up {
        // At once: a start that ends before the group is ready has written the files all the same, and the
        // next one finds them and makes up nothing.
        eprintln!(
            "baton: a new group; the password of root is {password}. It is kept nowhere: write it down."
        );
    }
    members.iter().try_for_each(|member| ports::check(&member.config))?;
    let binary = std::env::current_exe().map_err(not_fine)?;
    let log_starts: Vec<u64> = members.iter().map(|m| fs::metadata(m.log()).map_or(0, |f| f.len())).collect();
    let mut wardens = Wardens::new(binary, &members);
    let status = wardens
        .start_all()
        .and_then(|()| ready::wait(&members, &mut wardens, &log_starts, || asked_to_stop(&incoming)));
    let status = match status {
        Ok(Some(status)) => status,
        Ok(None) => return stop(&mut wardens, &incoming),
        Err(failure) => {
            stop(&mut wardens, &incoming)?;
            return Err(failure);
        }
    };
    let dir = std::path::absolute(&options.dir).map_err(not_fine)?;
    let ready = ready::announcement(&dir, &members, &status, &wardens, made_up);
    if options.json {
        println!("{}", serde_json::to_string(&ready).expect("plain data is JSON"));
    } else {
        println!("{}", ready::for_people(&ready, &status, members.iter().any(|m| m.config.auth)));
    }
    supervise(&mut wardens, &incoming);
    stop(&mut wardens, &incoming)
}

fn asked_to_stop(incoming: &Receiver<i32>) -> bool {
    incoming.try_iter().any(|signal| signal != SIGCHLD)
}

/// Tends the wardens until a signal asks to stop or all of them are down for good.
fn supervise(wardens: &mut Wardens, incoming: &Receiver<i32>) {
    loop {
        tell(wardens.tend());
        if wardens.all_down() {
            return;
        }
        let wait = wardens.next_start().map_or(IDLE, |at| at.saturating_duration_since(Instant::now()));
        match incoming.recv_timeout(wait) {
            Ok(SIGCHLD) | Err(RecvTimeoutError::Timeout) => {}
            Ok(_) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// An orderly stop; a second signal makes it a quick one.
fn stop(wardens: &mut Wardens, incoming: &Receiver<i32>) -> Result<(), Failure> {
    let notices = wardens.stop_all(|| asked_to_stop(incoming));
    let killed = notices.len();
    tell(notices);
    match killed {
        0 => Ok(()),
        _ => Err(not_fine("not everything stopped in order; nothing acknowledged is lost by that")),
    }
}

fn tell(notices: Vec<Notice>) {
    for Notice(text) in notices {
        eprintln!("baton: {text}");
    }
}
