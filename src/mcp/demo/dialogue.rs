//! Calls that ask the client something: each is written once, as rounds of questions, and
//! served to both eras. A legacy client gets the questions as requests while its call waits
//! (a [`Script`]); a modern one gets an `input_required` result and comes back with the answers
//! and our state (2026-07-28 basic/patterns/mrtr).

use std::collections::VecDeque;

use sonic_rs::{JsonValueMutTrait, Value};

use super::arguments::Arguments;
use super::params::{Params, compact, object};
use super::questions::{Answers, Question, Questions, missing_capabilities};
use super::script::{Input, Script, Step};
use super::state::{Memory, Purpose};
use super::topics::{Turn, turn};
use super::{Demo, Handled, MISSING_CAPABILITY, Outcome, Request, answer, prompts};
use crate::mcp::revision::Era;
use crate::mcp::vocabulary::ClientCapabilities;

pub(super) use super::topics::Topic;

/// A legacy client that keeps giving answers that do not fit is asked no more than this often.
const ROUNDS_MAX: u8 = 6;

/// A call whose name and arguments have been checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) topic: Topic,
    pub(super) name: &'a str,
    pub(super) arguments: &'a Arguments<'a>,
    pub(super) params: &'a Params<'a>,
}

/// Starts a call or, for a modern client, goes one round on.
pub(super) fn start(
    demo: &Demo,
    request: &Request<'_>,
    call: &Call<'_>,
    out: &mut Vec<u8>,
) -> Handled {
    match request.era() {
        Era::Legacy => Handled::Running(Box::new(Script::dialogue(Dialogue {
            topic: call.topic,
            input: call.topic.input(call.arguments),
            capabilities: request.capabilities,
            memory: Memory::default(),
            pending: VecDeque::new(),
            asked: None,
            answers: Value::new_object(),
            rounds: 0,
        }))),
        Era::Modern => Handled::Finished(round(demo, request, call, out)),
    }
}

/// One round with a modern client.
fn round(demo: &Demo, request: &Request<'_>, call: &Call<'_>, out: &mut Vec<u8>) -> Outcome {
    let canonical = compact(call.params.arguments.unwrap_or(b"{}"));
    let purpose = Purpose {
        principal: request.principal,
        method: request.method,
        name: call.name,
        arguments: &canonical,
    };
    let now = request.now.unix.as_secs();
    let memory = match call.params.request_state() {
        Ok(None) => Some(Memory::default()),
        Ok(Some(state)) => demo.states.open(purpose, &state, now),
        Err(()) => None,
    };
    let Some(memory) = memory else {
        let message = "requestState is not valid for this request or has expired; \
             start the call again without it";
        return answer::invalid(out, message);
    };
    let answers = call
        .params
        .input_responses()
        .ok()
        .map(Option::unwrap_or_default);
    let Some(answers) = answers.and_then(Answers::checked) else {
        let message = "inputResponses must be an object of objects";
        return answer::invalid(out, message);
    };
    let input = call.topic.input(call.arguments);
    match turn(call.topic, &input, &memory, &answers, request.capabilities) {
        Turn::Ask(questions, next) => {
            if let Some(missing) = missing_capabilities(&questions, request.capabilities) {
                let message = "The client did not declare a capability that this needs";
                let data = format!("{{\"requiredCapabilities\":{missing}}}");
                return answer::error_with(out, MISSING_CAPABILITY, message, data.as_bytes());
            }
            let state = next.map(|next| demo.states.seal(purpose, &next, now));
            input_required(&questions, state.as_deref(), out)
        }
        Turn::Say(text) => say(call.topic, Era::Modern, &text, out),
    }
}

fn input_required(questions: &[Question], state: Option<&str>, out: &mut Vec<u8>) -> Outcome {
    answer::begin(out, Era::Modern, "input_required");
    out.extend_from_slice(b"\"inputRequests\":{");
    for (index, question) in questions.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        answer::string(out, question.key);
        out.extend_from_slice(b":{");
        question.write(out);
        out.push(b'}');
    }
    out.push(b'}');
    if let Some(state) = state {
        out.extend_from_slice(b",\"requestState\":");
        answer::string(out, state);
    }
    out.push(b'}');
    Outcome::Result
}

/// The end of a call.
fn say(topic: Topic, era: Era, text: &str, out: &mut Vec<u8>) -> Outcome {
    if topic.is_prompt() {
        answer::result(
            out,
            era,
            prompts::messages(&[prompts::text(text)]).as_bytes(),
        )
    } else {
        answer::text(out, era, text)
    }
}

/// A call of a legacy client that is under way.
#[derive(Debug)]
pub(super) struct Dialogue {
    topic: Topic,
    input: String,
    capabilities: ClientCapabilities,
    memory: Memory,
    /// Questions of this round that are still to be asked.
    pending: VecDeque<Question>,
    /// The one that the client is answering.
    asked: Option<Question>,
    /// Answers of this round so far.
    answers: Value,
    rounds: u8,
}

impl Dialogue {
    pub(super) fn next(&mut self, input: Input<'_>, out: &mut Vec<u8>) -> Step {
        if let Some(question) = self.asked.take()
            && let Err(reason) = self.take(&question, input)
        {
            return self.fail(&reason, out);
        }
        if self.pending.is_empty() {
            let answers = std::mem::replace(&mut self.answers, Value::new_object());
            let Some(answers) = Answers::checked(answers) else {
                return self.fail("The client's answer is not an object", out);
            };
            let turn = turn(
                self.topic,
                &self.input,
                &self.memory,
                &answers,
                self.capabilities,
            );
            match turn {
                Turn::Say(text) => return Step::Finish(say(self.topic, Era::Legacy, &text, out)),
                Turn::Ask(questions, next) => {
                    if let Err(reason) = self.plan(questions, next) {
                        return self.fail(&reason, out);
                    }
                }
            }
        }
        match self.pending.pop_front() {
            Some(question) => {
                question.write(out);
                self.asked = Some(question);
                Step::Ask
            }
            None => self.fail("There is nothing left to ask", out),
        }
    }

    fn take(&mut self, question: &Question, input: Input<'_>) -> Result<(), String> {
        let method = question.method();
        let answer: Value = match input {
            Input::Answer(json) => object(json)
                .ok_or_else(|| format!("The client's answer to {method} is not an object"))?,
            Input::Refused(reason) => {
                return Err(format!("The client did not answer {method}: {reason}"));
            }
            Input::Done => return Err(format!("The client did not answer {method}")),
        };
        if let Some(answers) = self.answers.as_object_mut() {
            answers.insert(&question.key, answer);
        }
        Ok(())
    }

    fn plan(&mut self, questions: Questions, next: Option<Memory>) -> Result<(), String> {
        if self.rounds >= ROUNDS_MAX {
            return Err("The client's answers do not fit the questions".into());
        }
        if let Some(missing) = missing_capabilities(&questions, self.capabilities) {
            return Err(format!(
                "This needs a client with the capabilities {missing}"
            ));
        }
        self.rounds += 1;
        self.pending = questions.into();
        if let Some(next) = next {
            self.memory = next;
        }
        Ok(())
    }

    fn fail(&self, reason: &str, out: &mut Vec<u8>) -> Step {
        Step::Finish(if self.topic.is_prompt() {
            answer::error(out, super::INTERNAL_ERROR, reason)
        } else {
            answer::tool_error(out, Era::Legacy, reason)
        })
    }
}
