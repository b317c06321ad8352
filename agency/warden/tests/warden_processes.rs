//! The warden's shell against real processes, sockets and signals: with a scripted brain, and last with the
//! real one in a group of three.

mod warden_support;

use agency::ids::Incarnation;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::Timespec;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use warden::{WardenError, now, store};
use warden_support::{Setup, Warden, free_ports, local, roles, signal_process};

/// Not a test of its own: what the processes started by the tests run.
#[test]
fn role() {
    roles::play();
}

fn pid_of_start(started: &str) -> u32 {
    started.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Starts one warden with a node and waits until the node is guarded.
fn alone(dir: &std::path::Path, mib: usize) -> (Warden, u32, u16) {
    let [agency, port] = free_ports();
    let setup = Setup::new(0, &[agency], dir).node(port).with("T_MIB", mib).with("T_RESPAWN_MS", 50);
    let mut warden = Warden::start(&setup);
    let pid = pid_of_start(&warden.wait_for("@ started 1"));
    warden.wait_for("is ready after");
    (warden, pid, port)
}

#[test]
fn a_killed_node_is_noticed_before_its_memory_is_freed_and_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut warden, pid, _) = alone(dir.path(), 512);
    signal_process(pid, libc::SIGKILL);
    warden.wait_for("@ died 1");
    warden.wait_for("incarnation 2 starts");
    let dead = warden.place_of("incarnation 1 is dead (its threads ended)");
    assert!(dead < warden.place_of("incarnation 1 ended by signal 9"));
    assert!(warden.place_of("incarnation 1 ended by signal 9") < warden.place_of("starts again in"));
    assert_eq!(warden.said.iter().filter(|l| l.contains("@ died 1")).count(), 1, "told once");
}

#[test]
fn peers_hear_of_a_death_and_clients_are_reset() {
    let dir = tempfile::tempdir().unwrap();
    let ports = free_ports::<3>();
    let [port] = free_ports();
    // Enough memory that its sockets would stay open for long if nobody reset them.
    let mut guard = Warden::start(&Setup::new(0, &ports, dir.path()).node(port).with("T_MIB", 256));
    let mut others = [1, 2].map(|me| Warden::start(&Setup::new(me, &ports, dir.path())));
    let pid = pid_of_start(&guard.wait_for("@ started 1"));
    guard.wait_for("is ready after");
    for other in &mut others {
        other.wait_for("@ up 0");
    }
    let mut client = TcpStream::connect(local(port)).unwrap();
    client.write_all(b"x").unwrap();
    guard.wait_for("@ node hears a client");
    signal_process(pid, libc::SIGKILL);
    for other in &mut others {
        other.wait_for("@ hears 1 of 0 died");
    }
    let end = client.read(&mut [0]);
    guard.wait_for("the node is not started again");
    if guard.said.iter().any(|l| l.contains("cannot be reset")) {
        assert!(matches!(end, Ok(0) | Err(_)));
    } else {
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
        let reset = guard.wait_for("sockets of the dead node");
        eprintln!("measured: sockets reset {reset}");
    }
}

#[test]
fn a_node_that_stands_still_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut warden, pid, _) = alone(dir.path(), 1);
    signal_process(pid, libc::SIGSTOP);
    warden.wait_for("incarnation 1 hangs: killed");
    warden.wait_for("@ started 2");
    warden.wait_for("incarnation 1 is dead (its threads ended)");
}

#[test]
fn a_node_that_works_is_left_alone_and_one_that_sleeps_or_is_stopped_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let [agency, witness, port] = free_ports();
    let setup = Setup::new(0, &[agency, witness], dir.path()).node(port);
    let mut warden = Warden::start(&setup.with("T_BRAIN", "overseer").with("T_RESPAWN_MS", 50));
    warden.wait_for("is ready after");
    let mut client = TcpStream::connect(local(port)).unwrap();
    client.write_all(b"w").unwrap();
    warden.wait_for("@ node has worked");
    assert!(!warden.said.iter().any(|line| line.contains("hangs: killed")));
    client.write_all(b"s").unwrap();
    warden.wait_for("incarnation 1 hangs: killed");
    let pid: u32 = warden.wait_for("@ started 2 as").parse().unwrap();
    warden.wait_for("is ready after");
    let stopped = now().0;
    signal_process(pid, libc::SIGSTOP);
    warden.wait_for("incarnation 2 hangs: killed");
    let died = moment(&warden.wait_for("@ died 2 at"));
    eprintln!("measured: dead {} us after SIGSTOP", (died - stopped) / 1000);
}

#[test]
fn a_node_does_not_outlive_its_warden() {
    let dir = tempfile::tempdir().unwrap();
    let (warden, pid, _) = alone(dir.path(), 1);
    let node = pidfd_open(Pid::from_raw(pid as i32).unwrap(), PidfdFlags::empty()).unwrap();
    warden.signal(libc::SIGKILL);
    let patience = Timespec { tv_sec: 30, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(&node, PollFlags::IN)], Some(&patience)), Ok(1), "the node lives on");
}

#[test]
fn a_node_whose_program_has_capabilities_does_not_outlive_its_warden_either() {
    let dir = tempfile::tempdir().unwrap();
    let [agency, port] = free_ports();
    let setup = Setup::new(0, &[agency], dir.path()).node(port).with("T_FORGETS_WARDEN", 1);
    let mut warden = Warden::start(&setup);
    let pid = pid_of_start(&warden.wait_for("@ started 1"));
    warden.wait_for("is ready after");
    let node = pidfd_open(Pid::from_raw(pid as i32).unwrap(), PidfdFlags::empty()).unwrap();
    warden.signal(libc::SIGKILL);
    let patience = Timespec { tv_sec: 30, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(&node, PollFlags::IN)], Some(&patience)), Ok(1), "the node lives on");
}

#[test]
fn a_disk_that_was_replaced_under_a_living_warden_is_seen_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (mut warden, pid, _) = alone(dir.path(), 1);
    warden.wait_for("@ disk 1");
    std::fs::write(dir.path().join("0").join("disk"), "77").unwrap();
    signal_process(pid, libc::SIGKILL);
    warden.wait_for("@ started 2");
    warden.wait_for("@ disk 77");
    // Nothing is started on a disk that does not say who it is.
    std::fs::write(dir.path().join("0").join("disk"), "rust").unwrap();
    let pid = pid_of_start(&warden.wait_for("incarnation 2 starts"));
    signal_process(pid, libc::SIGKILL);
    warden.wait_for("the node cannot be started: invalid digit");
    std::fs::write(dir.path().join("0").join("disk"), "78").unwrap();
    warden.wait_for("@ disk 78");
}

#[test]
fn an_accepted_loss_is_told_to_the_brain_once() {
    let dir = tempfile::tempdir().unwrap();
    let [agency] = free_ports();
    let setup = Setup::new(0, &[agency], dir.path());
    Warden::start(&setup).wait_for("up: pid");
    store::accept_data_loss(&dir.path().join("0")).unwrap();
    Warden::start(&setup).wait_for("@ the loss is accepted");
    let mut third = Warden::start(&setup);
    third.wait_for("up: pid");
    assert!(!dir.path().join("0").join(store::ACCEPTANCE).exists());
}

#[test]
fn an_orderly_stop_stops_the_node_first() {
    let dir = tempfile::tempdir().unwrap();
    let (mut warden, ..) = alone(dir.path(), 1);
    warden.signal(libc::SIGTERM);
    assert!(warden.wait().success());
    warden.place_of("@ warden ends Stopped");
    assert!(warden.place_of("ended by exit code 0") < warden.place_of("stopped in order"));
    assert!(warden.place_of("worst tick") < warden.place_of("stopped in order"));
}

#[test]
fn a_node_that_stops_in_order_by_itself_ends_its_warden() {
    let dir = tempfile::tempdir().unwrap();
    let (mut warden, _, port) = alone(dir.path(), 1);
    TcpStream::connect(local(port)).unwrap().write_all(b"q").unwrap();
    assert!(warden.wait().success());
    warden.place_of("@ warden ends NodeStopped");
}

#[test]
fn last_words_of_a_node_are_logged() {
    let dir = tempfile::tempdir().unwrap();
    let (mut warden, _, port) = alone(dir.path(), 1);
    TcpStream::connect(local(port)).unwrap().write_all(b"f").unwrap();
    warden.wait_for("ended by signal 6: the disk is on fire");
    warden.wait_for("@ started 2");
}

#[test]
fn incarnations_rise_over_the_lives_of_the_warden() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = Incarnation(0);
    for _ in 1..=3 {
        let [agency, port] = free_ports();
        let mut warden = Warden::start(&Setup::new(0, &[agency], dir.path()).node(port));
        warden.wait_for("@ started 1 as");
        warden.wait_for("@ stored 1");
        let stored = store::read(&dir.path().join("0")).unwrap().unwrap().incarnation;
        assert!(stored > last);
        last = stored;
    }
}

#[test]
fn links_come_back_after_a_warden_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let ports = free_ports::<3>();
    let setups = [0, 1, 2].map(|me| Setup::new(me, &ports, dir.path()));
    let mut low = Warden::start(&setups[0]);
    let mut middle = Warden::start(&setups[1]);
    let high = Warden::start(&setups[2]);
    middle.wait_for("@ up 2");
    low.wait_for("@ up 2");
    drop(high);
    middle.wait_for("@ down 2");
    low.wait_for("@ down 2");
    let mut high = Warden::start(&setups[2]);
    middle.wait_for("@ up 2");
    low.wait_for("@ up 2");
    drop(low);
    // The dialling side loses its peer, and dials until it is back.
    high.wait_for("@ down 0");
    let mut low = Warden::start(&setups[0]);
    high.wait_for("@ up 0");
    low.wait_for("@ up 2");
}

#[test]
fn a_silent_peer_is_given_up_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let ports = free_ports::<2>();
    let mut low = Warden::start(&Setup::new(0, &ports, dir.path()));
    let high = Warden::start(&Setup::new(1, &ports, dir.path()));
    low.wait_for("@ up 1");
    high.signal(libc::SIGSTOP);
    low.wait_for("lost: it went silent");
    low.wait_for("@ down 1");
    high.signal(libc::SIGCONT);
    low.wait_for("@ up 1");
}

#[test]
fn another_group_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let ports = free_ports::<2>();
    let mut ours = Warden::start(&Setup::new(0, &ports, dir.path()));
    let mut strange = Warden::start(&Setup::new(1, &ports, dir.path()).with("T_GROUP", 78));
    ours.wait_for(
        "refused a connection to the agency: warden w1 is of group 0000000000000000000000000000004e",
    );
    strange.wait_for("warden w0 is of group 0000000000000000000000000000004d");
}

#[test]
fn a_port_in_use_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut warden = Warden::start(&Setup::new(0, &[port], dir.path()));
    let error = warden.wait_for("@ warden fails: ");
    assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
    assert!(!warden.wait().success());
    let source = std::io::Error::from(ErrorKind::AddrInUse);
    let expected = WardenError::Listen { address: local(port), source }.to_string();
    assert_eq!(error.split(": ").next(), expected.split(": ").next());
}

/// The moment that ends a line, in nanoseconds of the clock all processes of a host share.
fn moment(line: &str) -> u64 {
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_killed_leader_is_succeeded_by_its_follower() {
    let dir = tempfile::tempdir().unwrap();
    let ports = free_ports::<3>();
    let node_ports = free_ports::<2>();
    let setup = |me: usize| Setup::new(me, &ports, dir.path()).with("T_BRAIN", "overseer");
    let guarded = |me: usize| setup(me).node(node_ports[me]).with("T_RESPAWN_MS", 200).with("T_MIB", 256);
    let mut wardens = [0, 1].map(|me| Warden::start(&guarded(me)));
    let _witness = Warden::start(&setup(2));
    let [leader, follower] = &mut wardens;
    let pid: u32 = leader.wait_for("@ started 1 as").parse().unwrap();
    for shard in 0..2 {
        follower.wait_for(&format!("@ shard {shard} epoch 1 leader 0 in_sync {{0, 1}}"));
        leader.wait_for(&format!("@ node leads shard {shard} epoch 1"));
    }
    for warden in [&mut *leader, &mut *follower] {
        warden.wait_for("is ready after");
    }
    let killed = now().0;
    signal_process(pid, libc::SIGKILL);
    let died = moment(&leader.wait_for("@ died 1 at"));
    eprintln!("measured: the death notice came {} us after the kill", (died - killed) / 1000);
    for shard in 0..2 {
        let promoted = moment(&follower.wait_for(&format!("@ shard {shard} epoch 2 leader 1 in_sync {{1}}")));
        eprintln!(
            "measured: shard {shard} has a leader {} us after the death notice",
            (promoted - died) / 1000
        );
        follower.wait_for(&format!("@ node leads shard {shard} epoch 2"));
    }
    // The dead node comes back as a new incarnation and learns who leads now.
    leader.wait_for("@ started 2 as");
    for shard in 0..2 {
        leader.wait_for(&format!("@ node sees shard {shard} epoch 2"));
    }
}
