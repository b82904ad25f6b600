//! Bends well-formed inputs a few bytes at a time, by seed.

pub(crate) const REQUESTS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"\r\nGET /a?b=c HTTP/1.1\r\nhost: [::1]:80\r\nAccept: */*\r\n\r\n",
    b"GET http://b.test?q HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a.test\r\nX:\t y \r\n\r\nHEAD / HTTP/1.0\r\n\r\n",
    b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"POST /1 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhelloGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nxGET / HTTP/1.0\r\n\r\n",
];

pub(crate) const CHUNKED: &[&[u8]] = &[
    b"5\r\nhello\r\n0\r\n\r\n",
    b"0005;a=\"b\" ; c\r\nhello\r\nA \t;x\r\n0123456789\r\n00\r\n\r\n",
    b"1\r\nx\r\n0\r\nX-T: 1\r\nContent-Length: 9\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"ff\r\n",
];

pub(crate) const RESPONSES: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 204 \r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 404\r\n\r\nend",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 500 caf\xe9\r\nConnection: close\r\nX:y\r\n\r\nto the end",
];

/// Bytes that matter to these grammars more than others do.
const SPICE: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"0",
    b"-1",
    b"+",
    b"\xff",
    b"chunked",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 5\r\n",
    b"Host: b\r\n",
    b"Content_Length: 1\r\n",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"GET ",
    b"CONNECT ",
    b"*",
    b"http://",
    b"[",
    b"]",
    b"@",
    b"#",
    b"?",
    b"%2e",
    b"\r\n\r\n",
    b"ffffffffffffffff",
    b"data: ",
    b"id: ",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
];

/// SplitMix64: small, seedable, good enough to choose bytes.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn pick<'a>(&mut self, from: &[&'a [u8]]) -> &'a [u8] {
        from[self.below(from.len())]
    }
}

/// Up to four changes: flips, cuts, insertions, another seed's end.
pub(crate) fn mutate(input: &mut Vec<u8>, seeds: &[&[u8]], random: &mut Random) {
    for _ in 0..random.below(5) {
        let at = random.below(input.len() + 1);
        let end = (at + random.below(8)).min(input.len());
        match random.below(7) {
            0 if at < input.len() => input[at] = random.next() as u8,
            1 if at < input.len() => input[at] ^= 1 << random.below(8),
            2 => drop(input.splice(at..at, random.pick(SPICE).iter().copied())),
            3 => drop(input.splice(at..end, random.pick(SPICE).iter().copied())),
            4 => drop(input.drain(at..end)),
            5 => {
                let again = input[at..end].to_vec();
                input.splice(at..at, again);
            }
            _ => {
                let other = random.pick(seeds);
                let from = random.below(other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
}

/// Up to seven pieces, some empty.
pub(crate) fn cut<'a>(input: &'a [u8], random: &mut Random) -> Vec<&'a [u8]> {
    let mut places = vec![0, input.len()];
    for _ in 0..random.below(6) {
        places.push(random.below(input.len() + 1));
    }
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| &input[pair[0]..pair[1]])
        .collect()
}

/// A number from the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// `FUZZ_SEED`, or one that differs each time.
pub(crate) fn seed() -> u64 {
    number("FUZZ_SEED").unwrap_or_else(|| {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap();
        now.as_nanos() as u64
    })
}
