//! Questions to other shards that wait for their answer.

use core::task::{Context, Poll, Waker};

use crate::filter::limit::Verdict;

/// Questions that may wait at once. Each is a request under way.
const WAITING_MAX: usize = 16 * 1024;

/// All questions of one shard.
#[derive(Debug)]
pub(super) struct Waiting {
    questions: Vec<Question>,
    free: Vec<u32>,
    /// Counts questions, so that an answer that comes too late finds nobody else's.
    round: u32,
}

#[derive(Debug)]
struct Question {
    round: u32,
    deadline_ms: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Free,
    Asked(Option<Waker>),
    /// `None`: nobody answered in time.
    Answered(Option<Verdict>),
}

impl Waiting {
    /// None yet. `seed` differs between two lives of a shard.
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            questions: Vec::new(),
            free: Vec::new(),
            round: (seed ^ (seed >> 32)) as u32,
        }
    }

    /// A ticket for a question; `None` if too many wait.
    pub(super) fn open(&mut self, deadline_ms: u64) -> Option<u64> {
        self.round = self.round.wrapping_add(1);
        let question = Question {
            round: self.round,
            deadline_ms,
            state: State::Asked(None),
        };
        let at = match self.free.pop() {
            Some(at) => at,
            None if self.questions.len() >= WAITING_MAX => return None,
            None => {
                self.questions.push(Question {
                    round: 0,
                    deadline_ms: 0,
                    state: State::Free,
                });
                self.questions.len() as u32 - 1
            }
        };
        *self.questions.get_mut(at as usize)? = question;
        Some((u64::from(self.round) << 32) | u64::from(at))
    }

    /// An answer came. Whether someone waits for it.
    pub(super) fn answer(&mut self, ticket: u64, verdict: Verdict) -> bool {
        let Some(question) = self.find(ticket) else {
            return false;
        };
        match core::mem::replace(&mut question.state, State::Answered(Some(verdict))) {
            State::Asked(waker) => {
                if let Some(waker) = waker {
                    waker.wake();
                }
                true
            }
            // Too late for whoever was told that there is none.
            known @ (State::Answered(_) | State::Free) => {
                question.state = known;
                false
            }
        }
    }

    /// Looks for the answer; `None` if there will be none.
    pub(super) fn poll(&mut self, ticket: u64, cx: &Context<'_>) -> Poll<Option<Verdict>> {
        match self.find(ticket).map(|question| &mut question.state) {
            Some(State::Asked(waker)) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(State::Answered(verdict)) => Poll::Ready(*verdict),
            Some(State::Free) | None => Poll::Ready(None),
        }
    }

    /// Nobody waits for it any more.
    pub(super) fn close(&mut self, ticket: u64) {
        if let Some(question) = self.find(ticket) {
            question.state = State::Free;
            self.free.push(ticket as u32);
        }
    }

    /// Gives up on overdue questions.
    pub(super) fn expire(&mut self, now_ms: u64) {
        for question in &mut self.questions {
            if question.deadline_ms <= now_ms
                && let State::Asked(waker) = &mut question.state
            {
                let waker = waker.take();
                question.state = State::Answered(None);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
    }

    fn find(&mut self, ticket: u64) -> Option<&mut Question> {
        let question = self.questions.get_mut(ticket as u32 as usize)?;
        let is_it = question.round == (ticket >> 32) as u32;
        (is_it && !matches!(question.state, State::Free)).then_some(question)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::limit::Left;

    const YES: Verdict = Verdict::Admit {
        delay_ms: 0,
        lease: 0,
        left: Left {
            requests: 0,
            whole_ms: 0,
        },
    };

    #[test]
    fn an_answer_reaches_its_question_alone() {
        let mut waiting = Waiting::new(7);
        let cx = Context::from_waker(Waker::noop());
        let (a, b) = (waiting.open(100).unwrap(), waiting.open(200).unwrap());
        assert!(waiting.poll(a, &cx).is_pending());
        assert!(waiting.answer(b, YES));
        assert!(!waiting.answer(b, YES), "answered already");
        assert!(waiting.poll(a, &cx).is_pending());
        assert_eq!(waiting.poll(b, &cx), Poll::Ready(Some(YES)));
        waiting.close(b);
        let c = waiting.open(300).unwrap();
        assert!(!waiting.answer(b, YES), "its place is another's");
        assert!(waiting.poll(c, &cx).is_pending());
        waiting.expire(150);
        assert_eq!(waiting.poll(a, &cx), Poll::Ready(None));
        assert!(!waiting.answer(a, YES), "too late");
        assert!(waiting.poll(c, &cx).is_pending());
    }

    #[test]
    fn questions_are_bounded() {
        let mut waiting = Waiting::new(u64::MAX);
        let tickets: Vec<u64> = core::iter::from_fn(|| waiting.open(1)).collect();
        assert_eq!(tickets.len(), WAITING_MAX);
        waiting.close(tickets[5]);
        assert!(waiting.open(1).is_some() && waiting.open(1).is_none());
    }
}
