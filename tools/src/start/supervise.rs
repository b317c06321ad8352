//! The wardens as child processes: started, started again when they die, stopped in order.

use crate::child;
use crate::failure::{Failure, not_fine};
use crate::processes;
use crate::start::layout::MemberFile;
use rustix::process::Signal;
use server::config::Respawn;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How much longer than its own time limit a warden may take to stop before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// Between two looks at children that are stopping.
const LOOK_EVERY: Duration = Duration::from_millis(5);

struct Warden {
    member: MemberFile,
    child: Option<Child>,
    /// When to start it again; `None` with no child: it stays down.
    again_at: Option<Instant>,
}

/// All wardens of the group.
pub struct Wardens {
    binary: PathBuf,
    all: Vec<Warden>,
}

/// Something worth a line to people.
pub struct Notice(pub String);

impl Wardens {
    /// None of them started yet.
    pub fn new(binary: PathBuf, members: &[MemberFile]) -> Wardens {
        let warden = |member: &MemberFile| Warden { member: member.clone(), child: None, again_at: None };
        Wardens { binary, all: members.iter().map(warden).collect() }
    }

    /// Starts all of them; those started before a failure are left to the caller to stop.
    pub fn start_all(&mut self) -> Result<(), Failure> {
        for warden in &mut self.all {
            warden.start(&self.binary)?;
        }
        Ok(())
    }

    /// The process id of a member's warden.
    pub fn pid(&self, name: &str) -> Option<u32> {
        self.all.iter().find(|w| w.member.config.name == name)?.child.as_ref().map(Child::id)
    }

    /// The first that has ended, by name. Asked while none may end.
    pub fn first_dead(&mut self) -> Option<String> {
        self.all.iter_mut().find_map(|w| w.ended().map(|_| w.member.config.name.clone()))
    }

    /// Notes who died, starts again whose time has come, and says so.
    pub fn tend(&mut self) -> Vec<Notice> {
        let mut notices = Vec::new();
        for warden in &mut self.all {
            let name = warden.member.config.name.clone();
            if let Some(status) = warden.ended() {
                warden.child = None;
                if status.success() {
                    notices.push(Notice(format!("{name} was stopped by an administrator and stays down")));
                    continue;
                }
                warden.again_at = match warden.member.config.respawn_after {
                    Respawn::After(span) => Some(Instant::now() + span.0),
                    Respawn::Never => None,
                };
                notices.push(Notice(format!("the warden of {name} died ({status})")));
            }
            if warden.again_at.is_some_and(|at| at <= Instant::now()) {
                warden.again_at = None;
                match warden.start(&self.binary) {
                    Ok(()) => notices.push(Notice(format!("the warden of {name} is started again"))),
                    Err(failure) => notices.push(Notice(failure.to_string())),
                }
            }
        }
        notices
    }

    /// When [`Wardens::tend`] has something to do even if nobody dies.
    pub fn next_start(&self) -> Option<Instant> {
        self.all.iter().filter_map(|w| w.again_at).min()
    }

    /// Whether none runs and none will.
    pub fn all_down(&self) -> bool {
        self.all.iter().all(|w| w.child.is_none() && w.again_at.is_none())
    }

    /// Stops everything in order: all data nodes at once, which then know that the whole group stops and leave the
    /// in-sync sets whole; then the witness, whose vote they may need until then. Whoever takes too long is
    /// killed; `hurry` is asked whether to do so at once. Says who did not end in order.
    pub fn stop_all(&mut self, mut hurry: impl FnMut() -> bool) -> Vec<Notice> {
        let mut notices = Vec::new();
        for witness in [false, true] {
            let mut stopping: Vec<&mut Warden> =
                self.all.iter_mut().filter(|w| w.member.witness() == witness).collect();
            for warden in &mut stopping {
                warden.again_at = None;
                warden.signal(Signal::TERM);
            }
            for warden in stopping {
                let deadline = Instant::now() + warden.member.config.stop_timeout.0 + STOP_GRACE;
                let name = warden.member.config.name.clone();
                while warden.child.is_some() {
                    if let Some(status) = warden.ended() {
                        if !status.success() {
                            notices.push(Notice(format!("{name} did not stop in order ({status})")));
                        }
                        break;
                    }
                    if hurry() || Instant::now() > deadline {
                        notices.push(Notice(format!("{name} did not stop in time and is killed")));
                        warden.kill();
                        break;
                    }
                    std::thread::sleep(LOOK_EVERY);
                }
                warden.child = None;
            }
        }
        notices
    }
}

impl Warden {
    fn start(&mut self, binary: &PathBuf) -> Result<(), Failure> {
        let log = self.member.log();
        let failed = |error| not_fine(format!("cannot write {}: {error}", log.display()));
        let out = OpenOptions::new().create(true).append(true).open(&log).map_err(failed)?;
        let errors = out.try_clone().map_err(failed)?;
        let mut command = Command::new(binary);
        command
            .arg(if self.member.witness() { "witness" } else { "serve" })
            .arg("--config")
            .arg(&self.member.path)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(errors);
        let child = child::spawn(&mut command);
        self.child = Some(child.map_err(|e| not_fine(format!("cannot start {}: {e}", binary.display())))?);
        Ok(())
    }

    /// How it ended, if it ran and has.
    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().expect("our own child can be waited for")
    }

    fn signal(&mut self, signal: Signal) {
        if self.child.is_some()
            && self.ended().is_none()
            && let Some(child) = &self.child
        {
            // It runs and is ours, so the signal can only fail if it ends this instant, which is as well.
            let _ = processes::signal(child.id(), signal);
        }
    }

    fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            // Fails only where it has just ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::start::layout::LOG;
    use server::config::{Member, NodeConfig, Span};
    use std::path::Path;

    /// Wardens that are not Baton but a shell script, which gets the same arguments.
    fn wardens(dir: &Path, script: &str, respawn_after: Respawn) -> Wardens {
        let binary = dir.join("script");
        std::fs::write(&binary, format!("#!/bin/sh\n{script}\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&binary, mode).unwrap();
        let member = |name: &str, port_base, witness| Member {
            name: name.into(),
            host: "127.0.0.1".into(),
            port_base,
            witness,
        };
        let members = vec![member("a", 7400, false), member("b", 7500, false), member("w", 7600, true)];
        let files: Vec<MemberFile> = members
            .iter()
            .map(|m| {
                let home = dir.join(&m.name);
                std::fs::create_dir_all(&home).unwrap();
                let group = engine::ids::GroupId(1);
                let mut config = NodeConfig::new(group, &m.name, home.clone(), members.clone());
                config.respawn_after = respawn_after;
                MemberFile { path: home.join("node.toml"), config }
            })
            .collect();
        Wardens::new(binary, &files)
    }

    fn until(mut condition: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !condition() {
            assert!(begun.elapsed() < Duration::from_secs(20), "waited too long");
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_dead_are_started_again_and_the_stopped_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let soon = Respawn::After(Span(Duration::from_millis(1)));
        let mut group = wardens(dir.path(), "exec sleep 1000", soon);
        group.start_all().unwrap();
        let first = group.pid("a").unwrap();
        processes::signal(first, Signal::KILL).unwrap();
        until(|| {
            group.tend();
            group.pid("a").is_some_and(|pid| pid != first)
        });
        // Nothing in them takes the signal to stop: that is no end in order, and is told.
        let notices = group.stop_all(|| false);
        assert_eq!(notices.len(), 3);
        assert!(notices[0].0.contains("a did not stop in order"), "{}", notices[0].0);
        assert!(group.all_down());

        let mut group = wardens(dir.path(), "exit 0", soon);
        group.start_all().unwrap();
        until(|| {
            group.tend();
            group.all_down()
        });
    }

    #[test]
    fn never_means_never() {
        let dir = tempfile::tempdir().unwrap();
        let mut group = wardens(dir.path(), "exit 1", Respawn::Never);
        group.start_all().unwrap();
        until(|| {
            group.tend();
            group.all_down()
        });
    }

    #[test]
    fn the_data_nodes_stop_together_and_the_witness_after_them() {
        let dir = tempfile::tempdir().unwrap();
        let order = dir.path().join("order");
        // A data node ends only when it sees that the other was told as well.
        let script = format!(
            "me=$(basename $(dirname $3))\n\
             trap 'echo told $me >> {0}; \
                   [ $me = w ] || until [ $(grep -c told {0}) -ge 2 ]; do sleep 0.01; done; \
                   echo ended $me >> {0}; exit 0' TERM\n\
             echo up\nwhile :; do sleep 0.01; done",
            order.display()
        );
        let mut group = wardens(dir.path(), &script, Respawn::Never);
        group.start_all().unwrap();
        for name in ["a", "b", "w"] {
            until(|| {
                std::fs::read_to_string(dir.path().join(name).join(LOG)).is_ok_and(|t| t.contains("up"))
            });
        }
        assert!(group.stop_all(|| false).is_empty());
        let said = std::fs::read_to_string(order).unwrap();
        let lines: Vec<_> = said.lines().collect();
        assert!(lines[..4].iter().all(|line| !line.ends_with('w')), "{said}");
        assert_eq!(lines[4..], ["told w", "ended w"], "{said}");
    }

    #[test]
    fn who_does_not_stop_is_killed_when_hurried() {
        let dir = tempfile::tempdir().unwrap();
        let mut group =
            wardens(dir.path(), "trap '' TERM\necho up\nwhile :; do sleep 0.01; done", Respawn::Never);
        group.start_all().unwrap();
        for name in ["a", "b", "w"] {
            until(|| {
                std::fs::read_to_string(dir.path().join(name).join(LOG)).is_ok_and(|t| t.contains("up"))
            });
        }
        assert_eq!(group.stop_all(|| true).len(), 3);
        assert!(group.all_down());
    }
}
