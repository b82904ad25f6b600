//! A call that takes time, as a machine: it says what to do next, the driver does it.

use std::collections::VecDeque;
use std::time::Duration;

use super::dialogue::Dialogue;
use super::{List, Outcome};

/// What to do next. Bytes that belong to the step have been appended to the buffer given to
/// [`Script::next`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// The buffer holds a whole JSON-RPC notification: send it, then resume with
    /// [`Input::Done`].
    Notify,
    /// Wait, then resume with [`Input::Done`].
    Sleep(Duration),
    /// Legacy only. The buffer holds `"method":…,"params":…` of a request for the client; send
    /// it with an id of the driver's and resume with the client's answer.
    Ask,
    /// Legacy only. Close the stream so that the client comes back for the rest, then resume
    /// with [`Input::Done`]. A driver without resumable streams resumes at once.
    CloseStream,
    /// A list changed: tell every shard, then resume with [`Input::Done`].
    Changed(List),
    /// The buffer holds `"result":…` or `"error":…`. Nothing follows.
    Finish(Outcome),
}

/// How a step ended.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// At the start, and after every step but [`Step::Ask`].
    Done,
    /// The `result` of the client's answer, verbatim.
    Answer(&'a [u8]),
    /// The client answered with an error, or cannot answer any more; a reason for people.
    Refused(&'a str),
}

/// A call that takes time.
#[derive(Debug)]
pub struct Script {
    cues: VecDeque<Cue>,
    dialogue: Option<Dialogue>,
}

/// One planned step with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cue {
    /// A whole notification.
    Notify(Vec<u8>),
    /// A pause.
    Sleep(Duration),
    /// See [`Step::CloseStream`].
    CloseStream,
    /// See [`Step::Changed`].
    Changed(List),
    /// The last member of the response.
    Finish(Outcome, Vec<u8>),
}

impl Script {
    /// Steps that are known from the start. The last one must be [`Cue::Finish`].
    pub(super) fn planned(cues: impl IntoIterator<Item = Cue>) -> Self {
        let cues: VecDeque<Cue> = cues.into_iter().collect();
        debug_assert!(matches!(cues.back(), Some(Cue::Finish(..))));
        Self {
            cues,
            dialogue: None,
        }
    }

    /// Questions whose answers decide what comes next.
    pub(super) const fn dialogue(dialogue: Dialogue) -> Self {
        Self {
            cues: VecDeque::new(),
            dialogue: Some(dialogue),
        }
    }

    /// The next step. Its bytes are appended to `out`.
    pub fn next(&mut self, input: Input<'_>, out: &mut Vec<u8>) -> Step {
        if let Some(dialogue) = &mut self.dialogue {
            return dialogue.next(input, out);
        }
        match self.cues.pop_front() {
            Some(Cue::Notify(message)) => {
                out.extend_from_slice(&message);
                Step::Notify
            }
            Some(Cue::Sleep(pause)) => Step::Sleep(pause),
            Some(Cue::CloseStream) => Step::CloseStream,
            Some(Cue::Changed(list)) => Step::Changed(list),
            Some(Cue::Finish(outcome, bytes)) => {
                out.extend_from_slice(&bytes);
                Step::Finish(outcome)
            }
            None => {
                debug_assert!(false, "resumed after its end");
                Step::Finish(super::answer::error(
                    out,
                    super::INTERNAL_ERROR,
                    "The call has ended",
                ))
            }
        }
    }
}
