//! `ringway call`: calls a tool and shows its result. Exit code 1 if the tool says that it failed.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use sonic_rs::{JsonContainerTrait as _, JsonValueTrait as _, Value};

use super::args::CallArgs;
use super::client::{Ask, Reply, plain, quoted};
use super::connect::{Target, answers, attendant, failure, is_url, open};
use super::terminal::Terminal;
use super::tools::{Tool, unknown_tool};
use super::{Failure, arguments};
use crate::base::base64::{self, Alphabet};
use crate::config::Env;
use crate::config::units::format_size;
use crate::handler::mcp::upstream::mirror;

pub(super) fn run(args: &CallArgs, terminal: &Terminal, env: &Env) -> Result<ExitCode, Failure> {
    let (url, words) = match args.words.split_first() {
        Some((first, rest)) if is_url(first) => (Some(first.as_str()), rest),
        _ => (None, args.words.as_slice()),
    };
    let Some((name, words)) = words.split_first() else {
        let usage = "which tool? ringway call [URL] TOOL [JSON | NAME=VALUE …]";
        return Err(Failure::Usage(usage.to_owned()));
    };
    let target = Target::of(url, env);
    let mut attendant = attendant(terminal, answers(&args.answers)?, &args.connect);
    let mut session = open(&target, &args.connect, &mut attendant)?;
    let items = session
        .list("tools/list", "tools", &mut attendant)
        .map_err(|error| failure(&error, &target))?;
    let tools = Tool::of_list(items);
    let Some(tool) = tools.iter().find(|tool| tool.name == *name) else {
        return Err(unknown_tool(name, &tools));
    };
    let schema = tool.value.get("inputSchema").filter(|_| !args.no_check);
    let arguments = arguments::read(words, schema).map_err(|problems| {
        let mut text = format!("the arguments do not fit `{}`:", plain(name));
        for problem in problems {
            let _ = write!(text, "\n    {}", plain(&problem));
        }
        let _ = write!(
            text,
            "\n    `ringway tools --tool {}` shows what it takes",
            plain(name)
        );
        Failure::Usage(text)
    })?;
    let mirrored = mirrored(tool, &arguments)?;
    let ask = Ask {
        method: "tools/call",
        members: format!("\"name\":{},\"arguments\":{arguments}", quoted(name)),
        name: Some(name),
        mirrored,
        has_progress: true,
    };
    let reply = session.complete(&ask, &mut attendant);
    let reply = reply.map_err(|error| failure(&error, &target))?;
    session.close();
    let is_error = reply.get("isError").is_some_and(|flag| flag.is_true());
    if args.connect.json {
        terminal.print(&String::from_utf8_lossy(&reply.raw()));
        terminal.print("\n");
    } else {
        terminal.print(&shown(&reply, args.out.as_deref())?);
        if is_error {
            terminal.complain("the tool says that it failed");
        }
    }
    Ok(ExitCode::from(u8::from(is_error)))
}

/// Arguments that the tool wants to see as headers (basic/transports/streamable-http §Custom
/// Headers from Tool Parameters).
fn mirrored(tool: &Tool, arguments: &str) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let params = mirror::mirrored(&tool.raw).map_err(|why| {
        let name = plain(&tool.name);
        Failure::Failed(format!("`{name}` must not be called: {}", plain(&why)))
    })?;
    let headers = params.iter().filter_map(|param| {
        let value = param.value(arguments.as_bytes())?;
        Some((param.header.to_string(), value))
    });
    Ok(headers.collect())
}

/// The result for people. Saves what cannot be shown, if there is a folder for it.
fn shown(reply: &Reply, out: Option<&Path>) -> Result<String, Failure> {
    let mut text = String::new();
    let empty = Value::new_array();
    let blocks = reply.get("content").unwrap_or(&empty);
    let blocks = blocks
        .as_array()
        .map(|list| list.iter())
        .into_iter()
        .flatten();
    let mut has_text = false;
    for (index, block) in blocks.enumerate() {
        let kind = block
            .get("type")
            .and_then(|kind| kind.as_str())
            .unwrap_or("?");
        has_text |= kind == "text";
        let line = match kind {
            "text" => plain(member(block, "text")),
            "image" | "audio" => {
                let mime = member(block, "mimeType");
                binary(kind, mime, member(block, "data"), None, index, out)?
            }
            "resource_link" => {
                let title = member(block, "title");
                let name = if title.is_empty() {
                    member(block, "name")
                } else {
                    title
                };
                plain(&format!("{name}: {}", member(block, "uri")))
            }
            "resource" => match block.get("resource") {
                Some(resource) => embedded(resource, index, out)?,
                None => "an embedded resource without content".to_owned(),
            },
            other => format!("content of the unknown type {}", plain(other)),
        };
        text.push_str(&line);
        if !line.ends_with('\n') {
            text.push('\n');
        }
    }
    // Servers repeat structured content as text for older clients.
    if let Some(structured) = reply.get("structuredContent").filter(|_| !has_text) {
        text.push_str(&plain(
            &sonic_rs::to_string_pretty(structured).unwrap_or_default(),
        ));
        text.push('\n');
    }
    if text.is_empty() {
        text.push_str("(no content)\n");
    }
    Ok(text)
}

fn member<'a>(block: &'a Value, key: &str) -> &'a str {
    block
        .get(key)
        .and_then(|value| value.as_str())
        .unwrap_or_default()
}

fn embedded(resource: &Value, index: usize, out: Option<&Path>) -> Result<String, Failure> {
    let uri = member(resource, "uri");
    match resource.get("text").and_then(|text| text.as_str()) {
        Some(text) => Ok(format!("{}:\n{}", plain(uri), plain(text))),
        None => {
            let mime = member(resource, "mimeType");
            binary(
                "resource",
                mime,
                member(resource, "blob"),
                Some(uri),
                index,
                out,
            )
        }
    }
}

/// Says what the bytes are and where they went.
fn binary(
    kind: &str,
    mime: &str,
    data: &str,
    uri: Option<&str>,
    index: usize,
    out: Option<&Path>,
) -> Result<String, Failure> {
    let what = match uri {
        Some(uri) => format!("{kind} {}", plain(uri)),
        None => kind.to_owned(),
    };
    let compact: Vec<u8> = data
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let Some(bytes) = base64::decode(Alphabet::Standard, &compact) else {
        return Ok(format!(
            "[{what}, {}, not readable: its data is no Base64]",
            plain(mime)
        ));
    };
    let size = size(bytes.len());
    let Some(folder) = out else {
        return Ok(format!(
            "[{what}, {}, {size}; --out DIR saves it]",
            plain(mime)
        ));
    };
    let path = folder.join(format!("{}-{}.{}", kind, index + 1, extension(mime)));
    let saved = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, &bytes));
    saved.map_err(|error| Failure::Failed(format!("cannot write {}: {error}", path.display())))?;
    Ok(format!(
        "[{what}, {}, {size}, saved as {}]",
        plain(mime),
        path.display()
    ))
}

fn size(bytes: usize) -> String {
    if bytes < 10_000 {
        return format!("{bytes} bytes");
    }
    let rounded = (bytes as u64).div_ceil(1024) << 10;
    format!("{}iB", format_size(rounded).to_ascii_uppercase())
}

/// The usual ending of a file of that type.
fn extension(mime: &str) -> &str {
    match mime.split(';').next().unwrap_or(mime).trim() {
        "image/png" => "png",
        "image/jpeg" => "jpg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        "image/svg+xml" => "svg",
        "audio/wav" | "audio/x-wav" => "wav",
        "audio/mpeg" => "mp3",
        "audio/ogg" => "ogg",
        "application/pdf" => "pdf",
        "application/json" => "json",
        "text/plain" => "txt",
        _ => "bin",
    }
}
