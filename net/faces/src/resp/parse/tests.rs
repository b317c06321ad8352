use super::*;
use proptest::prelude::*;

/// What a stream is parsed into, when it arrives in pieces that end at these offsets.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Request(Vec<Vec<u8>>),
    Bad(String, bool),
}

fn small_limits() -> Limits {
    Limits {
        max_value_bytes: 40,
        max_args: 8,
        max_inline_bytes: 64,
        max_request_bytes: 100,
        ..Limits::default()
    }
}

/// Parse `stream` as it arrives piece by piece; stop at a fatal error. Also how many bytes are left over.
fn drive(stream: &[u8], cuts: impl IntoIterator<Item = usize>) -> (Vec<Seen>, usize) {
    let limits = small_limits();
    let mut state = ParseState::default();
    let mut buffer: Vec<u8> = Vec::new();
    let mut seen = Vec::new();
    let mut from = 0;
    for cut in cuts.into_iter().chain([stream.len()]) {
        buffer.extend_from_slice(&stream[from..cut]);
        from = cut;
        loop {
            let consumed = match parse(&buffer, &limits, &mut state) {
                Parsed::Incomplete => break,
                Parsed::Unfinished | Parsed::Long { .. } => unreachable!("these have few arguments"),
                Parsed::Skipped { consumed } => consumed,
                Parsed::Request { consumed, request } => {
                    seen.push(Seen::Request(request.args_from(0).map(<[u8]>::to_vec).collect()));
                    consumed
                }
                Parsed::Bad { consumed, reply, fatal } => {
                    seen.push(Seen::Bad(String::from_utf8_lossy(&reply).into_owned(), fatal));
                    if fatal {
                        return (seen, 0);
                    }
                    consumed
                }
            };
            assert!(consumed > 0 && consumed <= buffer.len());
            buffer.drain(..consumed);
        }
    }
    (seen, buffer.len())
}

fn request(words: &[&str]) -> Seen {
    Seen::Request(words.iter().map(|word| word.as_bytes().to_vec()).collect())
}

#[test]
fn the_same_whatever_the_pieces() {
    let big = "v".repeat(41);
    let stream = format!(
        "*2\r\n$3\r\nGET\r\n$1\r\na\r\nPING x\r\n\r\n*0\r\n*3\r\n$3\r\nSET\r\n$41\r\n{big}\r\n$60\r\n{}\r\n\
         SET 'a b' \"\\x00\\n\"\r\n*1\r\n$4\r\nPING\r\n*x\r\n",
        "w".repeat(60)
    );
    let stream = stream.as_bytes();
    let whole = drive(stream, []);
    let expected = [
        request(&["GET", "a"]),
        request(&["PING", "x"]),
        Seen::Bad("-ERR value is larger than this group's limit of 40 bytes\r\n".into(), false),
        request(&["SET", "a b", "\0\n"]),
        request(&["PING"]),
        Seen::Bad("-ERR Protocol error: invalid multibulk length\r\n".into(), true),
    ];
    assert_eq!(whole.0, expected);
    assert_eq!(drive(stream, 1..stream.len()), whole);
    for cut in 0..stream.len() {
        assert_eq!(drive(stream, [cut]), whole, "cut at {cut}");
    }
}

#[test]
fn a_request_too_large_in_all_is_skipped() {
    let part = format!("$30\r\n{}\r\n", "v".repeat(30));
    let stream = format!("*5\r\n{part}{part}{part}{part}{part}PING\r\n");
    let expected = [
        Seen::Bad("-ERR request is larger than this group's limit of 100 bytes\r\n".into(), false),
        request(&["PING"]),
    ];
    assert_eq!(drive(stream.as_bytes(), 1..stream.len()), (expected.into(), 0));
}

#[test]
fn tells_how_much_a_bulk_needs() {
    let mut state = ParseState::default();
    let start = b"*2\r\n$3\r\nGET\r\n$1000\r\nabc";
    assert!(matches!(parse(start, &Limits::default(), &mut state), Parsed::Incomplete));
    let header = start.len() - 3;
    assert_eq!(state.needed(), header + 1000 + 2);
    let mut whole = start[..header].to_vec();
    whole.resize(header + 1000, b'x');
    whole.extend_from_slice(b"\r\n");
    let Parsed::Request { consumed, request } = parse(&whole, &Limits::default(), &mut state) else {
        panic!("a whole request");
    };
    assert_eq!((consumed, request.arg(1).len(), state.needed()), (whole.len(), 1000, 0));
}

#[test]
fn a_header_that_never_ends_is_refused() {
    for (start, text) in [
        ("*", "too big mbulk count string"),
        ("*1\r\n$", "too big bulk count string"),
        ("x", "too big inline request"),
    ] {
        let stream = format!("{start}{}", "1".repeat(100));
        let (seen, _) = drive(stream.as_bytes(), 1..stream.len());
        assert_eq!(seen, [Seen::Bad(format!("-ERR Protocol error: {text}\r\n"), true)]);
    }
}

#[test]
fn a_line_too_long_is_refused_however_it_comes() {
    let (long, most) = ("x".repeat(65), "x".repeat(64));
    for (stream, text) in [
        (format!("{long}\r\n"), "too big inline request"),
        (format!("*{}1\r\n", "0".repeat(64)), "too big mbulk count string"),
        (format!("*1\r\n${}1\r\nx\r\n", "0".repeat(64)), "too big bulk count string"),
    ] {
        let expected = (vec![Seen::Bad(format!("-ERR Protocol error: {text}\r\n"), true)], 0);
        assert_eq!(drive(stream.as_bytes(), []), expected);
        assert_eq!(drive(stream.as_bytes(), 1..stream.len()), expected);
    }
    let stream = format!("{most}\n");
    assert_eq!(drive(stream.as_bytes(), []), (vec![request(&[&most])], 0));
    assert_eq!(drive(stream.as_bytes(), 1..stream.len()), (vec![request(&[&most])], 0));
}

/// Bytes that look like the protocol often enough to get far into the parser.
fn protocol_soup() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"*2\r\n".to_vec()),
        Just(b"$3\r\nGET\r\n".to_vec()),
        Just(b"$50\r\n".to_vec()),
        Just(b"*".to_vec()),
        Just(b"$".to_vec()),
        Just(b"'\"\\x4".to_vec()),
        Just(b"PING\n".to_vec()),
        "-?[0-9]{1,3}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(token, 0..20).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn random_bytes_mean_the_same_in_pieces(stream in protocol_soup(), step in 1usize..7) {
        let whole = drive(&stream, []);
        prop_assert_eq!(drive(&stream, (step..stream.len().max(step)).step_by(step)), whole);
    }

    #[test]
    fn what_is_encoded_is_parsed_back(
        args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut stream = Vec::new();
        Request::from_owned(args.clone()).encode(&mut stream);
        let (seen, left) = drive(&stream, [cut.index(stream.len())]);
        prop_assert_eq!((seen, left), (vec![Seen::Request(args)], 0));
    }
}

#[test]
fn a_stranger_may_send_little() {
    let limits = Limits { stranger: true, ..Limits::default() };
    let seen = |bytes: &[u8]| match parse(bytes, &limits, &mut ParseState::default()) {
        Parsed::Bad { reply, fatal: true, .. } => String::from_utf8(reply).unwrap(),
        Parsed::Request { request, .. } => format!("{} arguments", request.len()),
        other => panic!("{other:?}"),
    };
    let args = |n: usize| format!("*{n}\r\n{}", "$1\r\nx\r\n".repeat(n));
    assert_eq!(seen(args(10).as_bytes()), "10 arguments");
    assert_eq!(seen(b"*11\r\n"), "-ERR Protocol error: unauthenticated multibulk length\r\n");
    let bulk = |n: usize| format!("*1\r\n${n}\r\n{}\r\n", "x".repeat(n));
    assert_eq!(seen(bulk(16 << 10).as_bytes()), "1 arguments");
    assert_eq!(seen(b"*1\r\n$16385\r\n"), "-ERR Protocol error: unauthenticated bulk length\r\n");
}
