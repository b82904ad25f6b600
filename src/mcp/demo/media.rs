//! Small pictures and sounds, made in code.

use crate::base::base64::{Alphabet, encode};

/// Colours a picture can fade to.
const COLOURS: [(&str, [u8; 3]); 4] = [
    ("red", [220, 40, 40]),
    ("green", [40, 160, 70]),
    ("blue", [40, 90, 220]),
    ("grey", [128, 128, 128]),
];
/// A stored block of DEFLATE holds at most this many bytes (RFC 1951 §3.2.4).
const STORED_BLOCK_BYTES_MAX: usize = 65_535;
const SAMPLES_PER_SECOND: u32 = 8_000;

/// Base64 as content blocks want it.
pub(super) fn base64(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    encode(Alphabet::Standard, bytes, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// A square PNG that fades from white to a colour, from the left to the right; blue if the
/// colour is not known.
pub(super) fn gradient(colour: &str, size: u16) -> Vec<u8> {
    let named = COLOURS.iter().find(|(name, _)| *name == colour);
    let [red, green, blue] = named.map_or([40, 90, 220], |(_, rgb)| *rgb);
    let fade = |to: u8, x: u16| {
        let span = u32::from(size.max(2) - 1);
        let part = u32::from(255 - to) * u32::from(x) / span;
        255 - part.min(255) as u8
    };
    let mut row = vec![0]; // filter type 0: the bytes as they are
    for x in 0..size {
        row.extend_from_slice(&[fade(red, x), fade(green, x), fade(blue, x)]);
    }
    png(size, &row.repeat(usize::from(size)))
}

/// A PNG of 8-bit RGB samples (W3C PNG §11), stored without compression.
fn png(size: u16, rows: &[u8]) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend_from_slice(&u32::from(size).to_be_bytes());
    header.extend_from_slice(&u32::from(size).to_be_bytes());
    header.extend_from_slice(&[8, 2, 0, 0, 0]); // depth, RGB, and the only methods there are
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut out, b"IHDR", &header);
    chunk(&mut out, b"IDAT", &stored_zlib(rows));
    chunk(&mut out, b"IEND", &[]);
    out
}

fn chunk(out: &mut Vec<u8>, kind: &[u8; 4], bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(kind);
    out.extend_from_slice(bytes);
    let crc = bytes.iter().fold(kind.iter().fold(!0, crc_step), crc_step);
    out.extend_from_slice(&(!crc).to_be_bytes());
}

fn crc_step(crc: u32, byte: &u8) -> u32 {
    (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
        crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
    })
}

/// zlib (RFC 1950) around stored blocks.
fn stored_zlib(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let mut blocks = bytes.chunks(STORED_BLOCK_BYTES_MAX).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16; // fits, by the size of a block
        out.push(u8::from(blocks.peek().is_none()));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    let (low, high) = bytes.iter().fold((1_u32, 0_u32), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    out.extend_from_slice(&(high << 16 | low).to_be_bytes());
    out
}

/// A WAV file: 16-bit mono, a triangle wave.
pub(super) fn tone(hertz: u32, milliseconds: u32) -> Vec<u8> {
    let count = SAMPLES_PER_SECOND * milliseconds / 1_000;
    let bytes = count * 2;
    let mut out = Vec::with_capacity(44 + bytes as usize);
    out.extend_from_slice(b"RIFF");
    out.extend_from_slice(&(36 + bytes).to_le_bytes());
    out.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    out.extend_from_slice(&SAMPLES_PER_SECOND.to_le_bytes());
    out.extend_from_slice(&(SAMPLES_PER_SECOND * 2).to_le_bytes());
    out.extend_from_slice(b"\x02\0\x10\0data");
    out.extend_from_slice(&bytes.to_le_bytes());
    for index in 0..count {
        // Position within the period, 0 to 65535, folded into a triangle of a quarter volume.
        let phase = (u64::from(index) * u64::from(hertz) * 65_536 / u64::from(SAMPLES_PER_SECOND)
            % 65_536) as i32;
        let folded = if phase < 32_768 {
            phase
        } else {
            65_535 - phase
        };
        let sample = (folded - 16_384) / 2;
        out.extend_from_slice(&(sample as i16).to_le_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_match_their_published_vectors() {
        let crc = !b"123456789".iter().fold(!0, crc_step);
        assert_eq!(crc, 0xcbf4_3926);
        let zlib = stored_zlib(b"Wikipedia");
        assert_eq!(zlib[zlib.len() - 4..], 0x11e6_0398_u32.to_be_bytes());
    }

    #[test]
    fn a_picture_has_its_chunks_and_every_row() {
        for size in [1, 2, 64, 512] {
            let png = gradient("red", size);
            assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"));
            let mut rest = &png[8..];
            let mut kinds = Vec::new();
            let mut rows = Vec::new();
            while !rest.is_empty() {
                let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
                kinds.push(String::from_utf8(rest[4..8].to_vec()).unwrap());
                if &rest[4..8] == b"IDAT" {
                    rows = unstored(&rest[8..8 + length]);
                }
                rest = &rest[12 + length..];
            }
            assert_eq!(kinds, ["IHDR", "IDAT", "IEND"]);
            let side = usize::from(size);
            assert_eq!(rows.len(), side * (1 + 3 * side), "{size}");
            assert_eq!(rows[1..4], [255, 255, 255], "white on the left");
        }
    }

    /// The bytes in the stored blocks of a zlib stream.
    fn unstored(zlib: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = &zlib[2..];
        loop {
            let is_last = rest[0] == 1;
            let length = u16::from_le_bytes([rest[1], rest[2]]);
            assert_eq!(u16::from_le_bytes([rest[3], rest[4]]), !length);
            bytes.extend_from_slice(&rest[5..5 + usize::from(length)]);
            rest = &rest[5 + usize::from(length)..];
            if is_last {
                assert_eq!(rest.len(), 4);
                return bytes;
            }
        }
    }

    #[test]
    fn a_sound_is_as_long_as_it_says() {
        let wav = tone(440, 250);
        assert_eq!(&wav[..4], b"RIFF");
        assert_eq!(
            u32::from_le_bytes(wav[4..8].try_into().unwrap()) as usize,
            wav.len() - 8
        );
        assert_eq!(
            u32::from_le_bytes(wav[40..44].try_into().unwrap()) as usize,
            wav.len() - 44
        );
        let samples: Vec<i16> = wav[44..]
            .chunks(2)
            .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
            .collect();
        assert_eq!(samples.len(), 2_000);
        // 440 Hz for a quarter of a second crosses zero 220 times.
        let crossings = samples
            .windows(2)
            .filter(|pair| (pair[0] < 0) != (pair[1] < 0))
            .count();
        assert!((218..=221).contains(&crossings), "{crossings}");
    }
}
