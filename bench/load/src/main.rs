//! `ringway-bench`: load for servers on this machine, and what came of it.

mod args;
mod drive;
mod events;
mod exchange;
mod mcp;
mod pace;
mod request;
mod tally;
mod wire;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser as _;

use args::{Cli, Load, RequestArgs, What};
use drive::{Share, Window, Work};
use request::Draft;
use tally::{Report, Tally};
use wire::Target;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<(), String> {
    let (load, work) = work(&cli.what)?;
    if load.rate.is_some_and(|rate| !(0.01..=1e7).contains(&rate)) {
        return Err("--rate is between 0.01 and 10,000,000 requests per second".to_owned());
    }
    let threads = load.threads.min(load.connections);
    let uri = load
        .url
        .parse()
        .map_err(|error| format!("{}: {error}", load.url))?;
    let target = Target::new(&uri, load.cacert.as_deref())?;
    let (window, used) = (Window::new(load), cpu_seconds());
    let mut handles = Vec::new();
    for thread in 0..threads {
        let part =
            |number: u32| u64::from(load.connections) * u64::from(number) / u64::from(threads);
        let part = |number| u32::try_from(part(number)).unwrap_or(load.connections);
        let share = Share {
            target: target.clone(),
            work: work.clone(),
            window,
            connections: part(thread)..part(thread + 1),
            of: load.connections,
            rate: load.rate,
        };
        handles.push(std::thread::spawn(move || share.run()));
    }
    let mut tally = Tally::new()?;
    for handle in handles {
        let part = handle
            .join()
            .map_err(|_| "a thread panicked".to_owned())??;
        tally.add(&part)?;
    }
    let wall = Instant::now()
        .saturating_duration_since(window.start)
        .as_secs_f64();
    let busy = (cpu_seconds() - used) / (wall * f64::from(threads));
    let report = Report::new(load, &tally, busy);
    if load.json {
        println!(
            "{}",
            serde_json::to_string(&report).map_err(|error| error.to_string())?
        );
    } else {
        print!("{}", report.text());
    }
    Ok(())
}

fn work(what: &What) -> Result<(&Load, Work), String> {
    let draft = |load: &Load, request: &RequestArgs| -> Result<Draft, String> {
        let mut draft = Draft::new(&request.method, &load.url, &load.headers)?;
        draft.body = request.body.clone().unwrap_or_default().into();
        Ok(draft)
    };
    match what {
        What::Http {
            load,
            request,
            vary,
        } => {
            let draft = draft(load, request)?;
            let requests = match vary {
                1 => vec![draft.encode()],
                many => {
                    let each = (0..*many).map(|number| draft.numbered(number));
                    each.map(|draft| draft.map(|draft| draft.encode()))
                        .collect::<Result<_, _>>()?
                }
            };
            Ok((load, Work::Requests(requests)))
        }
        What::Sse { load, request } => {
            if load.rate.is_some() {
                return Err("streams have no --rate: their server sets it".to_owned());
            }
            Ok((load, Work::Stream(draft(load, request)?.encode())))
        }
        What::Mcp {
            load,
            era,
            tool,
            arguments,
        } => {
            let draft = Draft::new("POST", &load.url, &load.headers)?;
            let call = mcp::Call::new(draft, *era, tool, arguments)?;
            Ok((load, Work::Call(Box::new(call))))
        }
    }
}

/// CPU time of this process so far: user and system, of all threads.
fn cpu_seconds() -> f64 {
    let times = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    #[allow(clippy::cast_precision_loss, reason = "seconds of a run")]
    let (seconds, nanos) = (times.tv_sec as f64, times.tv_nsec as f64);
    seconds + nanos / 1e9
}
