//! Tests of the configuration file.

use super::*;
use node::settings::ClientMemory;

fn member(name: &str, port_base: u16) -> Member {
    Member { name: name.into(), host: "127.0.0.1".into(), port_base, witness: false }
}

fn config() -> NodeConfig {
    let mut witness = member("w", 7600);
    witness.witness = true;
    let members = vec![member("a", 7400), member("b", 7500), witness];
    NodeConfig::new(GroupId(7), "b", "/tmp/b".into(), members)
}

fn error_of(change: impl FnOnce(&mut NodeConfig)) -> String {
    let mut changed = config();
    change(&mut changed);
    changed.check().unwrap_err().to_string()
}

#[test]
fn what_is_written_is_read_back() {
    let mut written = config();
    written.respawn_after = Respawn::Never;
    written.prefer_leader = Some("a".into());
    written.bind = Some("0.0.0.0".parse().unwrap());
    written.insecure_listen = true;
    let text = written.to_toml().unwrap();
    assert_eq!(NodeConfig::parse(&text).unwrap(), written, "{text}");
}

#[test]
fn a_small_file_suffices() {
    let text = r#"
        group = "000102030405060708090a0b0c0d0e0f"
        name = "a"
        dir = "/var/lib/baton"
        segment_bytes = "64MiB"
        respawn_after = "250ms"
        [timing]
        lease = "80ms"
        [[members]]
        name = "a"
        host = "127.0.0.1"
        port_base = 7400
    "#;
    let read = NodeConfig::parse(text).unwrap();
    assert_eq!(read.group, GroupId(0x000102030405060708090a0b0c0d0e0f));
    assert_eq!(read.segment_bytes, ByteSize(64 << 20));
    assert_eq!(read.respawn_after, Respawn::After(Span(Duration::from_millis(250))));
    assert_eq!(read.timing.lease, Span(Duration::from_millis(80)));
    assert_eq!(read.timing.heartbeat, TimingConfig::default().heartbeat);
    assert_eq!(read.my_member().replication_port(), 7490);
}

#[test]
fn errors_name_the_key_and_the_value() {
    assert!(error_of(|c| c.name = "x".into()).contains("name = x"));
    assert!(error_of(|c| c.shards = 65).contains("shards = 65"));
    assert!(error_of(|c| c.segment_bytes = ByteSize(1000)).contains("segment_bytes = 1000"));
    assert!(error_of(|c| c.log_buffer_bytes = ByteSize(16 << 20)).contains("log_buffer_bytes = 16MiB"));
    assert!(error_of(|c| c.members[1].port_base = 7450).contains("members.port_base = 7450"));
    assert!(error_of(|c| c.members[1].name = "a".into()).contains("members.name = a"));
    assert!(error_of(|c| c.prefer_leader = Some("w".into())).contains("witness"));
    assert!(error_of(|c| c.timing.lease = Span(Duration::ZERO)).contains("timing.lease"));
    let unknown = NodeConfig::parse("colour = 'red'").unwrap_err().to_string();
    assert!(unknown.contains("colour"), "{unknown}");
}

#[test]
fn what_clients_may_hold_is_configured_and_fits_together() {
    assert_eq!(config().settings().memory, ClientMemory::default());
    let head = "group = '000102030405060708090a0b0c0d0e0f'\nname = 'a'\ndir = '/d'\n";
    let keys = "client_output_soft = '1MiB'\nclient_output_soft_time = '1s'\nclient_output_hard = '17MiB'\n\
                client_memory = '18MiB'\n";
    let tail = "[[members]]\nname = 'a'\nhost = '127.0.0.1'\nport_base = 7400\n";
    let read = NodeConfig::parse(&format!("{head}{keys}{tail}")).unwrap().settings().memory;
    let wanted = ClientMemory {
        output_soft: 1 << 20,
        output_soft_time: Duration::from_secs(1),
        output_hard: 17 << 20,
        all: 18 << 20,
    };
    assert_eq!(read, wanted);

    let soft = error_of(|c| c.client_output_soft = ByteSize(257 << 20));
    assert!(soft.contains("client_output_soft = 257MiB") && soft.contains("256MiB"), "{soft}");
    let hard = error_of(|c| c.client_output_hard = ByteSize(513 << 20));
    assert!(hard.contains("client_output_hard = 513MiB") && hard.contains("512MiB"), "{hard}");
    let at = |bytes| {
        move |c: &mut NodeConfig| {
            (c.client_output_soft, c.client_output_hard) = (ByteSize(1 << 20), ByteSize(bytes));
        }
    };
    let value = error_of(at((16 << 20) + (64 << 10) - 1));
    assert!(value.contains("client_output_hard") && value.contains("max_value_bytes = 16MiB"), "{value}");
    let mut least = config();
    at((16 << 20) + (64 << 10))(&mut least);
    least.check().unwrap();
    for time in [Duration::from_millis(9), Duration::from_millis(3_600_001)] {
        assert!(error_of(|c| c.client_output_soft_time = Span(time)).contains("client_output_soft_time"));
    }
}

#[test]
fn leadership_is_laid_out_by_mode() {
    let mut changed = config();
    changed.shards = 3;
    assert_eq!(changed.initial_leaders(), vec![NodeId(0); 3]);
    changed.mode = Mode::ActiveActive;
    assert_eq!(changed.initial_leaders(), vec![NodeId(0), NodeId(1), NodeId(0)]);
    assert_eq!(changed.data_nodes(), NodeSet::of(&[NodeId(0), NodeId(1)]));
    assert_eq!(changed.agents().len(), 3);
}

#[test]
fn who_listens_to_all_asks_for_passwords_or_says_so() {
    let open = |c: &mut NodeConfig| c.bind = Some("0.0.0.0".parse().unwrap());
    let refused = error_of(open);
    assert!(refused.contains("bind = 0.0.0.0") && refused.contains("auth = true"), "{refused}");
    let named = error_of(|c| c.members[1].host = "db.example".into());
    assert!(named.contains("insecure_listen"), "{named}");
    let mut changed = config();
    open(&mut changed);
    changed.insecure_listen = true;
    changed.check().unwrap();
    changed.insecure_listen = false;
    changed.auth = true;
    let missing = changed.check().unwrap_err().to_string();
    assert!(missing.contains("root_password_hash"), "{missing}");
    changed.root_password_hash = Some("swordfish".into());
    let plain = changed.check().unwrap_err().to_string();
    assert!(plain.contains("root_password_hash") && !plain.contains("swordfish"), "{plain}");
    let secret = auth::password::Secret("swordfish".into());
    changed.root_password_hash = Some(auth::password::hash(&secret, &[1; auth::password::SALT_BYTES]));
    changed.check().unwrap();
    // A witness serves no clients.
    let mut witness = config();
    witness.name = "w".into();
    open(&mut witness);
    witness.check().unwrap();
}
