//! Waits until the group serves, and says where everything is.

use crate::failure::{Failure, not_fine};
use crate::serve::CANNOT_RUN;
use crate::start::layout::MemberFile;
use crate::start::supervise::Wardens;
use crate::status;
use faces::auth::password::Secret;
use indicatif::{ProgressBar, ProgressStyle};
use node::status::Status;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The line that `baton start --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    pub ready: bool,
    pub dir: PathBuf,
    pub nodes: Vec<ReadyNode>,
    /// `None` in a group of three data nodes.
    pub witness: Option<ReadyWitness>,
    /// The first password of `root`, if it was made up: only the first start of a group says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_password: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyNode {
    pub name: String,
    pub pid: u32,
    pub warden_pid: u32,
    pub resp: String,
    pub http: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyWitness {
    pub pid: u32,
}

/// Longest wait for the group to serve. Zeroing the first segments and recovering a large log take time.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A wait longer than this is shown.
const PATIENCE: Duration = Duration::from_millis(700);
/// Longest wait for one node's answer.
const HTTP_LIMIT: Duration = Duration::from_secs(1);

/// Waits until every shard has a leader that serves and every node is up. `None` if `stop` asked to give up.
pub fn wait(
    members: &[MemberFile],
    wardens: &mut Wardens,
    log_starts: &[u64],
    mut stop: impl FnMut() -> bool,
) -> Result<Option<Status>, Failure> {
    let begun = Instant::now();
    let bar = ProgressBar::hidden();
    bar.set_style(ProgressStyle::with_template("{spinner} {msg} ({elapsed})").expect("constant template"));
    loop {
        if stop() {
            return Ok(None);
        }
        if let Some(name) = wardens.first_dead() {
            let at = members.iter().position(|m| m.config.name == name).expect("wardens are members");
            return Err(not_fine(last_words(&members[at].log(), log_starts[at], &name)));
        }
        for (member, from) in members.iter().zip(log_starts) {
            if let Some(line) = new_text(&member.log(), *from).lines().find(|l| l.contains(CANNOT_RUN)) {
                return Err(not_fine(line.trim_start_matches("baton: ")));
            }
        }
        let waiting_for = match serving(members) {
            Ok(status) => {
                bar.finish_and_clear();
                return Ok(Some(status));
            }
            Err(why) => why,
        };
        if begun.elapsed() > PATIENCE && bar.is_hidden() {
            bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
        }
        bar.set_message(waiting_for.clone());
        bar.tick();
        if begun.elapsed() > READY_LIMIT {
            bar.finish_and_clear();
            return Err(not_fine(format!("the group does not serve after {READY_LIMIT:?}: {waiting_for}")));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The status if every node answers and every shard is led, else what is missing.
fn serving(members: &[MemberFile]) -> Result<Status, String> {
    let mut newest = None;
    for member in members.iter().filter(|m| !m.witness()) {
        let name = &member.config.name;
        let address = http_address(member);
        let (_, status) = status::from_node(&address, HTTP_LIMIT)
            .map_err(|_| format!("{name} is preparing its segments or recovering its log"))?;
        if let Some(down) = status.nodes.iter().find(|n| !n.up) {
            return Err(format!("{name} does not see {} yet", down.name));
        }
        if status.shards.is_empty() {
            return Err("no shard is founded yet".to_owned());
        }
        if let Some(shard) = status.shards.iter().find(|s| s.serving_leader().is_none()) {
            return Err(format!("shard {} has no leader yet", shard.id));
        }
        newest = Some(status);
    }
    newest.ok_or_else(|| "there are no data nodes".to_owned())
}

fn http_address(member: &MemberFile) -> String {
    format!("{}:{}", member.config.my_member().host, member.config.my_member().http_port())
}

/// What to print once the group serves.
pub fn announcement(
    dir: &Path,
    members: &[MemberFile],
    status: &Status,
    wardens: &Wardens,
    made_up: Option<Secret>,
) -> Ready {
    let pid_of_warden = |member: &MemberFile| wardens.pid(&member.config.name).unwrap_or_default();
    let nodes = members.iter().filter(|m| !m.witness()).map(|member| {
        let own = member.config.my_member();
        let known = status.nodes.iter().find(|n| n.name == own.name);
        ReadyNode {
            name: own.name.clone(),
            pid: known.map_or(0, |n| n.pid),
            warden_pid: pid_of_warden(member),
            resp: format!("{}:{}", own.host, own.any_key_port()),
            http: http_address(member),
        }
    });
    let witness = members.iter().find(|m| m.witness()).map(|m| ReadyWitness { pid: pid_of_warden(m) });
    let root_password = made_up.map(|Secret(password)| password);
    Ready { ready: true, dir: dir.to_owned(), nodes: nodes.collect(), witness, root_password }
}

/// The same for people. `users`: clients are asked for a password.
pub fn for_people(ready: &Ready, status: &Status, users: bool) -> String {
    let mut lines = vec![format!("Baton is ready in {}", ready.dir.display())];
    for node in &ready.nodes {
        let leads = status.shards.iter().filter(|s| s.leader.as_deref() == Some(&node.name)).count();
        let role = match leads {
            0 => "follows".to_owned(),
            n if n == status.shards.len() => "leads".to_owned(),
            n => format!("leads {n} of {} shards", status.shards.len()),
        };
        lines.push(format!(
            "  {}  {role:8} redis {}  http {}  pid {}  warden {}",
            node.name, node.resp, node.http, node.pid, node.warden_pid
        ));
    }
    if let Some(witness) = &ready.witness {
        lines.push(format!("  w  witness  pid {}", witness.pid));
    }
    let port = ready.nodes.first().and_then(|n| n.resp.rsplit_once(':')).map_or("7400", |(_, port)| port);
    let login = if users { " --user root --askpass" } else { "" };
    lines.push(format!(
        "Logs: {}/*/warden.log.  Try: redis-cli -p {port}{login} set greeting hello",
        ready.dir.display()
    ));
    if let Some(password) = &ready.root_password {
        lines.push(format!("The password of root is {password}. It is kept nowhere and not shown again."));
    }
    lines.push("Ctrl-C stops everything in order.".to_owned());
    lines.join("\n")
}

/// What was written to a log after `from`.
fn new_text(log: &Path, from: u64) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = fs::File::open(log)
        && file.seek(SeekFrom::Start(from)).is_ok()
    {
        // A log that cannot be read says nothing; what is missing is then named by the caller.
        let _ = file.read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Why a warden ended, as its log tells.
fn last_words(log: &Path, from: u64, name: &str) -> String {
    match new_text(log, from).lines().rfind(|line| !line.trim().is_empty()) {
        Some(line) => line.trim_start_matches("baton: ").to_owned(),
        None => format!("{name} ended without a word; its log is {}", log.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_the_last_line_of_this_run() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        fs::write(&log, "baton: old\n").unwrap();
        assert!(last_words(&log, 11, "a").contains("without a word"));
        fs::write(&log, "baton: old\nfirst\nbaton: the port is taken\n\n").unwrap();
        assert_eq!(last_words(&log, 11, "a"), "the port is taken");
    }

    #[test]
    fn the_ready_line_has_the_promised_fields() {
        let node = ReadyNode {
            name: "a".into(),
            pid: 2,
            warden_pid: 1,
            resp: "127.0.0.1:7400".into(),
            http: "127.0.0.1:7480".into(),
        };
        let witness = Some(ReadyWitness { pid: 3 });
        let ready = Ready { ready: true, dir: "/d".into(), nodes: vec![node], witness, root_password: None };
        let expected = r#"{"ready":true,"dir":"/d","nodes":[{"name":"a","pid":2,"warden_pid":1,"resp":"127.0.0.1:7400","http":"127.0.0.1:7480"}],"witness":{"pid":3}}"#;
        assert_eq!(serde_json::to_string(&ready).unwrap(), expected);
    }
}
