//! What every encoder makes is decoded by another library, however it was cut.

use std::io::Read;

use proptest::prelude::*;

use super::*;
use crate::config::Compression;

fn levels() -> Levels {
    Compression::default().levels
}

fn decode(coding: Coding, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    match coding {
        Coding::Br => brotlic::DecompressorReader::new(bytes).read_to_end(&mut out),
        Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
        Coding::Zstd => zstd::Decoder::new(bytes)?.read_to_end(&mut out),
    }?;
    Ok(out)
}

/// Encodes `content` in slices of those lengths, over and over; every third one is flushed.
fn encode(encoder: &mut Encoder, content: &[u8], cuts: &[usize]) -> Vec<u8> {
    let (mut rest, mut out, mut at) = (content, Vec::new(), 0);
    while !rest.is_empty() {
        let cut = cuts[at % cuts.len()].clamp(1, rest.len());
        let (slice, after) = rest.split_at(cut);
        encoder.write(slice, &mut out).unwrap();
        if at % 3 == 2 {
            encoder.flush(&mut out).unwrap();
        }
        rest = after;
        at += 1;
    }
    encoder.finish(&mut out).unwrap();
    out
}

fn shapes(len: usize) -> [Shape; 3] {
    [Shape::Whole(len as u64), Shape::Stream, Shape::Events]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_decoded_is_what_was_encoded(
        words in proptest::collection::vec("[a-z]{1,8}|[0-9]{1,4}|\\PC{1,3}", 0..400),
        noise in proptest::collection::vec(any::<u8>(), 0..3000),
        cuts in proptest::collection::vec(1..9000_usize, 1..6),
    ) {
        let mut content = words.join(" ").into_bytes();
        content.extend(noise);
        for coding in Coding::ALL {
            for shape in shapes(content.len()) {
                let mut encoder = Encoder::new(coding, levels(), shape).unwrap();
                let encoded = encode(&mut encoder, &content, &cuts);
                prop_assert_eq!(&decode(coding, &encoded).unwrap(), &content);
            }
        }
    }
}

fn text(bytes: usize) -> Vec<u8> {
    let mut text = Vec::new();
    let mut number = 12_345_u64;
    while text.len() < bytes {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        text.extend_from_slice(
            format!("{{\"id\":{},\"name\":\"tool\"}},", number >> 40).as_bytes(),
        );
    }
    text
}

#[test]
fn large_content_is_decoded_at_the_highest_levels_too() {
    let content = text(700_000);
    let high = Levels {
        brotli_quality: 9,
        brotli_lgwin: 24,
        gzip: 9,
        zstd: 12,
    };
    for coding in Coding::ALL {
        for shape in shapes(content.len()) {
            let mut encoder = Encoder::new(coding, high, shape).unwrap();
            let encoded = encode(&mut encoder, &content, &[32_768]);
            assert!(encoded.len() < content.len() / 2, "{coding:?} {shape:?}");
            assert_eq!(decode(coding, &encoded).unwrap(), content);
        }
    }
}

#[test]
fn an_encoder_that_was_left_in_the_middle_starts_anew() {
    for coding in [Coding::Gzip, Coding::Zstd] {
        let mut encoder = Encoder::new(coding, levels(), Shape::Stream).unwrap();
        let mut lost = Vec::new();
        encoder.write(&text(100_000), &mut lost).unwrap();
        assert!(encoder.renew(levels(), Shape::Whole(50_000)));
        let content = &text(50_000)[..50_000];
        let encoded = encode(&mut encoder, content, &[7_000]);
        assert_eq!(decode(coding, &encoded).unwrap(), content);
    }
}

#[test]
fn a_flush_lets_everything_so_far_be_read() {
    for coding in Coding::ALL {
        let mut encoder = Encoder::new(coding, levels(), Shape::Events).unwrap();
        let mut sent = Vec::new();
        let mut expected = Vec::new();
        for number in 0..20 {
            let event = format!("data: {{\"number\":{number}}}\n\n").into_bytes();
            expected.extend_from_slice(&event);
            encoder.write(&event, &mut sent).unwrap();
            encoder.flush(&mut sent).unwrap();
            // The stream has no end yet, which each decoder reports after the last byte.
            let mut seen = Vec::new();
            let mut decoder: Box<dyn Read> = match coding {
                Coding::Br => Box::new(brotlic::DecompressorReader::new(&sent[..])),
                Coding::Gzip => Box::new(flate2::read::GzDecoder::new(&sent[..])),
                Coding::Zstd => Box::new(zstd::Decoder::new(&sent[..]).unwrap()),
            };
            let mut buffer = [0; 512];
            while seen.len() < expected.len() {
                match decoder.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => seen.extend_from_slice(&buffer[..count]),
                }
            }
            assert_eq!(seen, expected, "{coding:?} {number}");
        }
    }
}
