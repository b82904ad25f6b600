//! Counts the events of a stream as they pass (WHATWG HTML §9.2.6): blocks of lines that an empty
//! line ends and that have data. Comments alone are no events.

/// Where in the stream the last piece ended.
#[derive(Debug, Default)]
pub(crate) struct Events {
    line: usize,
    is_data: bool,
    has_data: bool,
}

const DATA: &[u8] = b"data";

impl Events {
    /// How many events this piece ends. Lines end with LF or CRLF, as all servers here write them.
    pub(crate) fn read(&mut self, piece: &[u8]) -> u64 {
        let mut events = 0;
        for byte in piece {
            match byte {
                b'\n' => {
                    if self.line == 0 {
                        events += u64::from(self.has_data);
                        self.has_data = false;
                    } else {
                        self.has_data |= self.is_data && self.line >= DATA.len();
                    }
                    self.line = 0;
                }
                b'\r' => {}
                byte => {
                    if self.line == 0 {
                        self.is_data = true;
                    }
                    if let Some(wanted) = DATA.get(self.line) {
                        self.is_data &= byte == wanted;
                    }
                    self.line += 1;
                }
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_end_with_an_empty_line_wherever_the_pieces_end() {
        let text = b"id: 1\ndata: a\n\n: comment\n\nevent: x\r\ndata: b\r\ndata: c\r\n\r\nda: d\n\ndata:\n\n";
        assert_eq!(Events::default().read(text), 3);
        let mut bytewise = Events::default();
        assert_eq!(
            text.iter().map(|byte| bytewise.read(&[*byte])).sum::<u64>(),
            3
        );
    }
}
