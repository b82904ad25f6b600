//! `${VAR}` in values: what is filled in, and the error that names what is missing.
//!
//! | written | means |
//! |---|---|
//! | `${VAR}`, `${env:VAR}` | the variable; an error if it is not set |
//! | `${VAR:-text}` | the variable, or `text` if it is not set or empty |
//! | `$${` | `${` as it stands |
//!
//! In the files of MCP clients also: `${workspaceFolder}`, `${workspaceFolderBasename}`,
//! `${userHome}`, `${pathSeparator}`, `${/}`, `${input:id}` (variable INPUT_ID), `{env:VAR}`
//! (opencode), and `$VAR` or `%VAR%` where that is the whole text.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// A snapshot of the environment. `Debug` shows names only.
#[derive(Clone, Default)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// The environment of this process; variables that are not UTF-8 are left out.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether a variable says yes: `true`, `1` or `yes`.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        let yes = |value: &str| matches!(value.to_ascii_lowercase().as_str(), "true" | "1" | "yes");
        self.get(name).is_some_and(yes)
    }

    /// Every variable, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl FromIterator<(String, String)> for Env {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What may be filled in.
#[derive(Clone, Debug)]
pub(super) struct Scope<'a> {
    pub(super) env: &'a Env,
    /// The file is one of an MCP client, with that client's further forms.
    pub(super) client: Option<ClientScope>,
}

/// What the further forms stand for.
#[derive(Clone, Debug, Default)]
pub(super) struct ClientScope {
    /// `${workspaceFolder}`
    pub(super) workspace: PathBuf,
    /// `inputs` of the file: id to description.
    pub(super) inputs: BTreeMap<String, String>,
}

/// Why a text could not be filled in. Names variables, never holds a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ExpandError {
    #[error("variable {name} is not set")]
    Missing { name: String, hint: String },
    #[error("`${{{form}}}` cannot be filled in here")]
    Unknown { form: String },
    #[error("`${{` without its `}}`")]
    Unclosed,
}

impl ExpandError {
    pub(super) fn hint(&self) -> String {
        match self {
            Self::Missing { hint, .. } => hint.clone(),
            Self::Unknown { .. } => {
                "known are ${VAR}, ${VAR:-default} and ${env:VAR}; a literal ${ is written $${"
                    .to_owned()
            }
            Self::Unclosed => "a literal ${ is written $${".to_owned(),
        }
    }
}

/// Fills in every form of `text`; `None` where there was none.
pub(super) fn expand(text: &str, scope: &Scope<'_>) -> Result<Option<String>, ExpandError> {
    if let Some(name) = whole(text).filter(|_| scope.client.is_some()) {
        return lookup(scope.env, name).map(Some);
    }
    let mut filled = String::new();
    let mut rest = text;
    let mut found = false;
    while let Some(at) = rest.find(['$', '{']) {
        let (before, tail) = rest.split_at(at);
        filled.push_str(before);
        if let Some(tail) = tail.strip_prefix("$${") {
            filled.push_str("${");
            rest = tail;
            found = true;
        } else if let Some(tail) = tail.strip_prefix("${") {
            let (form, tail) = tail.split_once('}').ok_or(ExpandError::Unclosed)?;
            filled.push_str(&value_of(form, scope)?);
            rest = tail;
            found = true;
        } else if let Some((name, tail)) = opencode(tail).filter(|_| scope.client.is_some()) {
            filled.push_str(&lookup(scope.env, name)?);
            rest = tail;
            found = true;
        } else {
            let mut characters = tail.chars();
            filled.extend(characters.next());
            rest = characters.as_str();
        }
    }
    filled.push_str(rest);
    Ok(found.then_some(filled))
}

/// `~/…` under the home directory, as a shell would have it.
pub(super) fn home(text: &str, env: &Env) -> String {
    match (text.strip_prefix("~/"), env.get("HOME")) {
        (Some(rest), Some(home)) => format!("{home}/{rest}"),
        _ => text.to_owned(),
    }
}

/// What stands between `${` and `}`.
fn value_of(form: &str, scope: &Scope<'_>) -> Result<String, ExpandError> {
    let unknown = || ExpandError::Unknown {
        form: form.to_owned(),
    };
    if let Some(client) = &scope.client {
        match form {
            "workspaceFolder" | "workspaceRoot" => {
                return Ok(client.workspace.to_string_lossy().into_owned());
            }
            "workspaceFolderBasename" => {
                let name = client.workspace.file_name().unwrap_or_default();
                return Ok(name.to_string_lossy().into_owned());
            }
            "userHome" => return lookup(scope.env, "HOME"),
            "pathSeparator" | "/" => return Ok("/".to_owned()),
            _ => {}
        }
        if let Some(id) = form.strip_prefix("input:") {
            return input(id, client, scope.env);
        }
    }
    let form_name = form.strip_prefix("env:").unwrap_or(form);
    let (name, default) = match form_name.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (form_name, None),
    };
    if !is_name(name) {
        return Err(unknown());
    }
    match (scope.env.get(name), default) {
        (None | Some(""), Some(default)) => Ok(default.to_owned()),
        _ => lookup(scope.env, name),
    }
}

/// `${input:id}` of VS Code: nobody can be asked here, so a variable stands in.
fn input(id: &str, client: &ClientScope, env: &Env) -> Result<String, ExpandError> {
    let name: String = "INPUT_"
        .chars()
        .chain(id.chars().map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        }))
        .collect();
    env.get(&name).map(str::to_owned).ok_or_else(|| {
        let about = client.inputs.get(id).map_or("", String::as_str);
        let about = if about.is_empty() {
            String::new()
        } else {
            format!(" ({about})")
        };
        ExpandError::Missing {
            hint: format!("it stands for the input `{id}`{about} that the editor asks for"),
            name,
        }
    })
}

fn lookup(env: &Env, name: &str) -> Result<String, ExpandError> {
    env.get(name)
        .map(str::to_owned)
        .ok_or_else(|| ExpandError::Missing {
            name: name.to_owned(),
            hint: format!("set it before the start, or write ${{{name}:-default}}"),
        })
}

/// `$VAR` or `%VAR%` as the whole text. Capitals only: a password may begin with a dollar.
fn whole(text: &str) -> Option<&str> {
    let name = text
        .strip_prefix('$')
        .or_else(|| text.strip_prefix('%')?.strip_suffix('%'))?;
    let capitals = !name.bytes().any(|byte| byte.is_ascii_lowercase());
    (is_name(name) && capitals).then_some(name)
}

/// `{env:VAR}` at the start of the text.
fn opencode(text: &str) -> Option<(&str, &str)> {
    let (name, tail) = text.strip_prefix("{env:")?.split_once('}')?;
    is_name(name).then_some((name, tail))
}

pub(super) fn is_name(name: &str) -> bool {
    let first = name.bytes().next();
    first.is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn env() -> Env {
        [
            ("TOKEN", "t0"),
            ("EMPTY", ""),
            ("HOME", "/home/joe"),
            ("INPUT_API_KEY", "k1"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
    }

    fn filled(text: &str, client: bool) -> Result<String, String> {
        let env = env();
        let scope = Scope {
            env: &env,
            client: client.then(|| ClientScope {
                workspace: PathBuf::from("/srv/shop"),
                inputs: [("other".to_owned(), "The other key".to_owned())].into(),
            }),
        };
        expand(text, &scope)
            .map(|filled| filled.unwrap_or_else(|| text.to_owned()))
            .map_err(|error| format!("{error}; {}", error.hint()))
    }

    #[test]
    fn every_form() {
        for (text, expected) in [
            ("plain $ {x} 5$", "plain $ {x} 5$"),
            ("Bearer ${TOKEN}!", "Bearer t0!"),
            ("${env:TOKEN}${TOKEN}", "t0t0"),
            ("${NOPE:-http://x:1/}", "http://x:1/"),
            ("${EMPTY:-d}|${EMPTY}|", "d||"),
            ("$${TOKEN}", "${TOKEN}"),
        ] {
            assert_eq!(filled(text, false).as_deref(), Ok(expected), "{text}");
            assert_eq!(filled(text, true).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn forms_of_clients_hold_in_their_files_only() {
        for (text, expected) in [
            ("${workspaceFolder}/.env", "/srv/shop/.env"),
            ("${workspaceFolderBasename}", "shop"),
            ("${userHome}${/}x", "/home/joe/x"),
            ("${input:api-key}", "k1"),
            ("$TOKEN", "t0"),
            ("%TOKEN%", "t0"),
            ("Bearer {env:TOKEN}", "Bearer t0"),
            ("$pa55", "$pa55"),
            ("a $TOKEN", "a $TOKEN"),
            ("{env:}", "{env:}"),
        ] {
            assert_eq!(filled(text, true).as_deref(), Ok(expected), "{text}");
        }
        for text in ["$TOKEN", "%TOKEN%", "{env:TOKEN}"] {
            assert_eq!(filled(text, false).as_deref(), Ok(text));
        }
        assert!(filled("${userHome}", false).is_err());
    }

    #[test]
    fn errors_name_the_variable() {
        assert_eq!(
            filled("${GITHUB_TOKEN}", false).unwrap_err(),
            "variable GITHUB_TOKEN is not set; set it before the start, or write \
             ${GITHUB_TOKEN:-default}"
        );
        assert_eq!(
            filled("${input:other}", true).unwrap_err(),
            "variable INPUT_OTHER is not set; it stands for the input `other` (The other key) \
             that the editor asks for"
        );
        assert!(
            filled("${a b}", false)
                .unwrap_err()
                .starts_with("`${a b}` cannot")
        );
        assert!(
            filled("${x", false)
                .unwrap_err()
                .starts_with("`${` without")
        );
        assert!(
            filled("$NOPE", true)
                .unwrap_err()
                .starts_with("variable NOPE")
        );
    }

    #[test]
    fn debug_shows_names_only() {
        let shown = format!("{:?}", env());
        assert!(shown.contains("TOKEN") && !shown.contains("t0"), "{shown}");
    }

    proptest! {
        #[test]
        fn text_without_dollar_or_brace_stays(text in "[^${%]{0,60}") {
            prop_assert_eq!(filled(&text, true), Ok(text));
        }

        #[test]
        fn no_text_panics(text in "[${}a-zA-Z:%$/ -]{0,40}|.{0,20}") {
            let _ = filled(&text, true);
            let _ = filled(&text, false);
        }

        #[test]
        fn an_escaped_form_comes_back(inner in "[a-zA-Z_:]{0,10}", before in "[a-z ]{0,5}") {
            let text = format!("{before}$${{{inner}}}");
            prop_assert_eq!(filled(&text, false), Ok(format!("{before}${{{inner}}}")));
        }
    }
}
