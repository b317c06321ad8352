//! The parser against whole streams, streams in pieces, and rubbish.

use super::*;
use proptest::prelude::*;

const LIMITS: HttpLimits = HttpLimits { max_body_bytes: 64 };

/// Everything a stream yields when its bytes come in pieces of `piece`: requests, the final refusal's status,
/// and how often `100 Continue` was due.
fn all(stream: &[u8], piece: usize) -> (Vec<Request>, Option<u16>, usize) {
    let (mut parser, mut inbox, mut requests, mut continues) = (Parser::default(), Vec::new(), Vec::new(), 0);
    for bytes in stream.chunks(piece.max(1)) {
        inbox.extend_from_slice(bytes);
        loop {
            let (taken, progress) = parser.feed(&inbox, LIMITS);
            assert!(taken <= inbox.len());
            inbox.drain(..taken);
            match progress {
                Progress::More { send_continue } => {
                    continues += usize::from(send_continue);
                    break;
                }
                Progress::Request(request) => requests.push(*request),
                Progress::Refused(response) => return (requests, Some(response.status), continues),
            }
        }
    }
    (requests, None, continues)
}

fn refusal(head: &str) -> Option<u16> {
    all(head.as_bytes(), head.len()).1
}

#[test]
fn requests_come_whole_however_the_bytes_come() {
    let stream = b"\r\nGET /a/b%20c?x=1%26+2&y HTTP/1.1\r\nHost: h\r\n\r\n\
        POST /d HTTP/1.1\r\nHOST: h\r\nContent-Length: 5\r\n\r\nhello\
        PUT /e HTTP/1.1\r\nhost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n\
        GET http://proxy/f HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
    for piece in 1..stream.len() {
        let (requests, refused, continues) = all(stream, piece);
        assert_eq!((requests.len(), refused, continues), (4, None, 0), "pieces of {piece}");
        assert_eq!(requests[0].segments().unwrap(), ["a", "b c"]);
        assert_eq!(requests[0].parameter("x"), Some("1& 2"));
        assert_eq!(requests[0].parameter("y"), Some(""));
        assert_eq!((&requests[1].method, requests[1].body.as_slice()), (&Method::Post, &b"hello"[..]));
        assert_eq!(requests[2].body, b"abcde");
        assert!(requests[3].keep_alive && requests[3].path == "/f");
    }
}

#[test]
fn a_client_that_waits_is_told_once_to_go_on() {
    let head = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let mut parser = Parser::default();
    let (taken, progress) = parser.feed(head.as_bytes(), LIMITS);
    assert!(taken == head.len() && matches!(progress, Progress::More { send_continue: true }));
    assert!(matches!(parser.feed(b"a", LIMITS), (1, Progress::More { send_continue: false })));
    assert!(matches!(parser.feed(b"b", LIMITS), (1, Progress::Request(_))));
    // One that did not wait is told nothing.
    assert_eq!(all(format!("{head}ab").as_bytes(), 1000).2, 0);
}

#[test]
fn what_is_too_large_or_ambiguous_is_refused() {
    let with = |fields: &str| format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    assert_eq!(refusal(&with("Content-Length: 65\r\n")), Some(413));
    assert_eq!(
        refusal(&with("Transfer-Encoding: chunked\r\n").replace("\r\n\r\n", "\r\n\r\n41\r\n")),
        Some(413)
    );
    assert_eq!(refusal(&with("Content-Length: 1\r\nContent-Length: 2\r\n")), Some(400));
    assert_eq!(refusal(&with("Content-Length: +1\r\n")), Some(400));
    assert_eq!(refusal(&with("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n")), Some(400));
    assert_eq!(refusal(&with("Transfer-Encoding: gzip, chunked\r\n")), Some(501));
    assert_eq!(refusal(&with("Expect: the worst\r\n")), Some(417));
    assert_eq!(refusal(&with(&"x: y\r\n".repeat(101))), Some(431));
    assert_eq!(refusal(&with(&format!("x: {}\r\n", "y".repeat(40_000)))), Some(431));
    assert_eq!(refusal("GET / HTTP/1.1\r\n\r\n"), Some(400));
    assert_eq!(refusal("GET / HTTP/1.1\r\nHost : h\r\n\r\n"), Some(400));
    assert_eq!(refusal("GET a HTTP/1.1\r\nHost: h\r\n\r\n"), Some(400));
    assert_eq!(refusal("GET /?%zz HTTP/1.1\r\nHost: h\r\n\r\n"), Some(400));
    assert_eq!(refusal("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Some(505));
    let chunks = with("Transfer-Encoding: chunked\r\n");
    assert_eq!(refusal(&format!("{chunks}2\r\nabc\r\n")), Some(400));
    assert_eq!(refusal(&format!("{chunks}-1\r\n")), Some(400));
    assert_eq!(refusal(&format!("{chunks}ffffffffffffffffff\r\n")), Some(413));
    assert_eq!(refusal(&format!("{chunks}{}", "1".repeat(2000))), Some(400));
}

#[test]
fn lines_end_in_one_way_and_hold_no_control_bytes() {
    assert_eq!(refusal("GET / HTTP/1.0\r\n\r\n"), None);
    for head in [
        "GET / HTTP/1.0\n\n",
        "GET / HTTP/1.0\r\nA: b\nC: d\r\n\r\n",
        "GET / HTTP/1.0\r\n\n",
        "\nGET / HTTP/1.0\r\n\r\n",
        "\rGET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\nA: b\rC: d\r\n\r\n",
    ] {
        assert_eq!(refusal(head), Some(400), "{head:?}");
    }
    let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(refusal(&format!("{head}2 ; a=\"b\tc\"\r\nab\r\n0\r\nT: u\r\n\r\n")), None);
    for body in [
        "2\nab\r\n0\r\n\r\n",
        "2\r\nab\n0\r\n\r\n",
        "2\r\nab\r\n0\n\r\n",
        "2\r\nab\r\n0\r\n\n",
        "2\r\nab\r\n0\r\nT: u\n\r\n",
        "2;a=\rb\r\nab\r\n0\r\n\r\n",
        "2;a=\0\r\nab\r\n0\r\n\r\n",
        "2\r\r\nab\r\n0\r\n\r\n",
        "2\r\nab\r\n0\r\nT: u\x7f\r\n\r\n",
    ] {
        assert_eq!(refusal(&format!("{head}{body}")), Some(400), "{body:?}");
    }
}

#[test]
fn a_response_says_its_length_and_nothing_can_be_smuggled_into_it() {
    let response = Response::error(404, 1202, "no").with("X-A", "1\r\nX-B: 2");
    let text = |head, keep| {
        let mut out = Vec::new();
        response.encode(head, keep, &mut out);
        String::from_utf8(out).unwrap()
    };
    let whole = text(false, true);
    assert!(
        whole.starts_with("HTTP/1.1 404 Not Found\r\nConnection: Keep-Alive\r\nX-A: 1X-B: 2\r\n"),
        "{whole}"
    );
    let length = format!("Content-Length: {}\r\n\r\n", response.body.len());
    assert!(whole.contains(&length) && text(true, false).ends_with(&length));
    let large = Response { body: vec![b'x'; 100_000], ..Response::empty(200) };
    let (mut copied, mut headers) = (Vec::new(), Vec::new());
    large.encode(false, true, &mut copied);
    large.encode(true, true, &mut headers);
    let (head, body) = large.clone().into_parts(false, true);
    assert!(head == headers && copied == [head, body].concat());
    assert!(large.into_parts(true, true) == (headers, Vec::new()));
    let mut out = Vec::new();
    Response::empty(304).encode(false, true, &mut out);
    assert_eq!(out, b"HTTP/1.1 304 Not Modified\r\nConnection: Keep-Alive\r\n\r\n");
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let word = |text: &'static str| Just(text.as_bytes().to_vec());
    prop_oneof![
        word("GET / HTTP/1.1\r\n"),
        word("POST /_api/document/c HTTP/1.1\r\n"),
        word("Host: h\r\n"),
        word("Content-Length: 3\r\n"),
        word("Transfer-Encoding: chunked\r\n"),
        word("Expect: 100-continue\r\n"),
        word("Connection: close\r\n"),
        word("\r\n"),
        word("\r"),
        word("\n"),
        word("3;x=y\r\nabc\r\n"),
        word("0\r\n\r\n"),
        word("3\r\nabc\r\n"),
        word("abc"),
        proptest::collection::vec(any::<u8>(), 0..20),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_stream_means_the_same_in_any_pieces(
        stream in proptest::collection::vec(piece(), 0..20),
        size in 1usize..40,
    ) {
        let stream = stream.concat();
        let (whole, refused, _) = all(&stream, stream.len());
        let (pieced, refused_pieced, _) = all(&stream, size);
        prop_assert_eq!(whole, pieced);
        prop_assert_eq!(refused, refused_pieced);
    }
}
