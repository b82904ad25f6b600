//! Which coding a client wants (RFC 9110 §12.5.3).

use crate::http::accept::{Quality, weighted};
use crate::http::{Coding, HeaderList, Known};

/// The coding to use of those on offer, which stand in the server's order; `None` is none.
///
/// The highest weight wins, then the server's order; a client that weighs `identity` higher
/// than every coding gets none. `*` stands for the codings it does not name. A request without
/// the field gets none: programs that cannot decode leave it out. Nor is there an answer 406
/// where identity is refused and nothing fits: by then a call may have had its effect, and
/// §12.4.1 lets the server disregard the field.
#[must_use]
pub fn negotiate(request: &HeaderList, offered: &[Coding]) -> Option<Coding> {
    if !request.contains(Known::AcceptEncoding) {
        return None;
    }
    let mut weights: [Option<Quality>; Coding::ALL.len()] = [None; Coding::ALL.len()];
    let (mut any, mut identity) = (None, None);
    for (name, quality) in request.all(Known::AcceptEncoding).flat_map(weighted) {
        let slot = if name == b"*" {
            Some(&mut any)
        } else if name.eq_ignore_ascii_case(b"identity") {
            Some(&mut identity)
        } else {
            Coding::of(name).and_then(|coding| weights.get_mut(coding as usize))
        };
        // The first of two equal names counts.
        if let Some(slot) = slot {
            slot.get_or_insert(quality);
        }
    }
    let mut best: Option<(Coding, Quality)> = None;
    for &coding in offered {
        let own = weights.get(coding as usize).copied().flatten();
        let quality = own.or(any).unwrap_or(0);
        if quality > best.map_or(0, |(_, quality)| quality) {
            best = Some((coding, quality));
        }
    }
    best.filter(|&(_, quality)| quality >= identity.unwrap_or(0))
        .map(|(coding, _)| coding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(value: &str, offered: &[Coding]) -> Option<Coding> {
        let mut headers = HeaderList::new();
        headers.push(b"Accept-Encoding", value.as_bytes());
        negotiate(&headers, offered)
    }

    #[test]
    fn weights_decide_and_then_the_servers_order() {
        use Coding::{Br, Gzip, Zstd};
        for (value, coding) in [
            ("gzip", Some(Gzip)),
            ("GZIP", Some(Gzip)),
            ("x-gzip", Some(Gzip)),
            ("gzip, deflate, br, zstd", Some(Br)),
            ("gzip, zstd", Some(Zstd)),
            ("gzip;q=1.0, br;q=0.9", Some(Gzip)),
            ("gzip;q=0.5, br;q=0.5", Some(Br)),
            ("br;q=0, gzip;q=0.001", Some(Gzip)),
            ("*", Some(Br)),
            ("*;q=0.1", Some(Br)),
            ("br;q=0, *", Some(Zstd)),
            ("br;q=0, zstd;q=0.3, *;q=0.2", Some(Zstd)),
            ("gzip, *;q=0", Some(Gzip)),
            ("gzip;q=0.4, identity;q=0", Some(Gzip)),
            ("gzip;q=0.4, identity;q=0.5", None),
            ("gzip;q=0.5, identity;q=0.5", Some(Gzip)),
            ("identity, gzip;q=0.9", None),
            ("identity", None),
            ("identity;q=0", None),
            ("*;q=0", None),
            ("gzip;q=0", None),
            ("gzip;q=0, gzip", None),
            ("gzip;q=2", None),
            ("gzip;q=x", None),
            ("deflate, compress", None),
            ("gzi, zipp", None),
            ("", None),
            (" , ,gzip ; q=0.3 , ", Some(Gzip)),
        ] {
            assert_eq!(wanted(value, &Coding::ALL), coding, "{value}");
        }
    }

    #[test]
    fn only_what_is_offered_is_chosen() {
        assert_eq!(wanted("br, gzip", &[Coding::Gzip]), Some(Coding::Gzip));
        assert_eq!(wanted("br", &[Coding::Gzip]), None);
        assert_eq!(wanted("*", &[]), None);
        let order = [Coding::Gzip, Coding::Br];
        assert_eq!(wanted("br, gzip", &order), Some(Coding::Gzip));
        assert_eq!(negotiate(&HeaderList::new(), &Coding::ALL), None);
    }

    #[test]
    fn several_fields_are_one_list() {
        let mut headers = HeaderList::new();
        headers.push(b"Accept-Encoding", b"gzip;q=0.5");
        headers.push(b"accept-encoding", b"br;q=0.8");
        assert_eq!(negotiate(&headers, &Coding::ALL), Some(Coding::Br));
    }
}
