//! Drivers of other languages: installed in pinned versions into the build directory, spoken to in lines.

use super::{LIMIT, TestGroup, output, turn};
use bench::failover::{Blow, Group};
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

/// A directory for installed clients that outlives the test run; `install` fills it once.
pub fn installed(name: &str, install: impl FnOnce(&Path)) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients").join(name);
    let done = dir.join("installed");
    // An installation writes so much that a group beside it would wait for the disk.
    let _turn = turn();
    if !done.exists() {
        // What an interrupted installation left would only confuse the next.
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        install(&dir);
        fs::write(done, "").unwrap();
    }
    dir
}

/// A virtual environment of Python with this package.
pub fn pip(package: &str) -> PathBuf {
    installed(package, |dir| {
        output("python3", &["-m", "venv", dir.to_str().unwrap()]);
        let pip = dir.join("bin/pip");
        output(pip.to_str().unwrap(), &["install", "--quiet", package]);
    })
}

/// A directory with these packages in `node_modules`.
pub fn npm(name: &str, packages: &[&str]) -> PathBuf {
    installed(name, |dir| {
        let mut words = vec!["install", "--silent", "--no-audit", "--no-fund", "--prefix"];
        words.push(dir.to_str().unwrap());
        words.extend(packages);
        output("npm", &words);
    })
}

/// The longest gaps of one driver.
pub struct Gaps {
    pub driver: String,
    /// Per blow: the longest gap of each round in microseconds, and the errors that the application saw.
    pub blows: Vec<(Blow, Vec<u64>, Vec<String>)>,
    /// Documents that were acknowledged, and found again.
    pub documents: u64,
}

impl fmt::Display for Gaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} |", self.driver)?;
        for (_, gaps, _) in &self.blows {
            let longest = gaps.iter().max().copied().unwrap_or_default();
            write!(f, " {:.1} ms |", longest as f64 / 1000.0)?;
        }
        write!(f, " {} |", self.documents)?;
        for (blow, gaps, errors) in &self.blows {
            write!(f, "\n    {blow}: {gaps:?} µs, errors {}", errors.join(" "))?;
        }
        Ok(())
    }
}

/// A script in its mode `loop`; it is killed if the test fails.
struct Loop {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Loop {
    fn start(command: &mut Command) -> Loop {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} is needed for this test: {error}"));
        let input = child.stdin.take().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        // Ends with the script.
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Loop { child, input, lines }
    }

    fn hear(&self, wanted: &str) -> String {
        let line = self.lines.recv_timeout(LIMIT);
        let line = line.unwrap_or_else(|_| panic!("the script does not say {wanted:?}"));
        match line.strip_prefix(wanted) {
            Some(rest) => rest.trim().to_owned(),
            None => panic!("the script says {line:?} instead of {wanted:?}"),
        }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("the script lives");
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // It has ended by itself unless the test fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Strikes the leader in every way, `rounds` times each, while the script writes and reads. Ends well only if
/// the script found all of its acknowledged documents.
pub fn through_blows(driver: &str, group: &mut TestGroup, command: &mut Command, rounds: usize) -> Gaps {
    let mut script = Loop::start(command);
    script.hear("ready");
    let mut blows = Vec::new();
    for blow in [Blow::Node, Blow::Stop, Blow::Handoff] {
        let (mut gaps, mut errors) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            group.wait_whole();
            script.say("begin");
            script.hear("begun");
            group.strike(blow).unwrap_or_else(|error| panic!("{error}"));
            group.wait_whole();
            script.say("end");
            let said = script.hear("gap");
            let (gap, seen) = said.split_once(' ').expect("a gap and errors");
            gaps.push(gap.parse().expect("a number"));
            errors.push(seen.to_owned());
        }
        blows.push((blow, gaps, errors));
    }
    script.say("stop");
    let documents = script.hear("done").parse().expect("a number");
    let status = script.child.wait().unwrap();
    assert!(status.success(), "{driver}: {status}");
    let gaps = Gaps { driver: driver.to_owned(), blows, documents };
    println!("{gaps}");
    gaps
}
