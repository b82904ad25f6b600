//! `/api/v1/config`: what requests have to pass, in the words of the configuration file.

use super::json::{Json, object};
use crate::base::network::Network;
use crate::config::redact::HIDDEN;
use crate::config::{
    AcceptId, Access, Config, ConnectionLimit, LimitKey, Limited, OnError, RateLimit, RealIp,
    RouteSettings,
};

type Fields = Vec<(String, Json)>;

pub(super) fn real_ip(real_ip: &RealIp) -> Json {
    object! {
        "trusted": networks(&real_ip.trusted),
        "header": real_ip.header.as_str(),
        "recursive": real_ip.recursive,
    }
}

pub(super) const fn accept_id(accept: AcceptId) -> &'static str {
    match accept {
        AcceptId::Always => "always",
        AcceptId::Trusted => "trusted",
        AcceptId::Never => "never",
    }
}

pub(super) fn rate_limit(limit: &RateLimit) -> (String, Json) {
    let unit = if limit.seconds == 60 { "m" } else { "s" };
    let mut fields = vec![
        (
            "rate".to_owned(),
            format!("{}/{unit}", limit.requests).into(),
        ),
        ("burst".to_owned(), limit.burst.into()),
        (
            "delay".to_owned(),
            match limit.undelayed {
                None => false.into(),
                Some(0) => true.into(),
                Some(count) => count.into(),
            },
        ),
        ("headers".to_owned(), limit.headers.into()),
    ];
    common(&limit.common, &mut fields);
    (limit.common.name.to_string(), Json::Object(fields))
}

pub(super) fn connection_limit(limit: &ConnectionLimit) -> (String, Json) {
    let mut fields = vec![("max".to_owned(), u64::from(limit.max).into())];
    common(&limit.common, &mut fields);
    (limit.common.name.to_string(), Json::Object(fields))
}

fn common(limit: &Limited, fields: &mut Fields) {
    let (key, v6_prefix) = match &limit.key {
        LimitKey::ClientIp { v6_prefix } => ("client_ip".to_owned(), Some(*v6_prefix)),
        LimitKey::Principal { v6_prefix } => ("principal".to_owned(), Some(*v6_prefix)),
        LimitKey::Header(name) => (format!("header:{name}"), None),
    };
    let on_error = match limit.on_error {
        OnError::Allow => "allow",
        OnError::Deny => "deny",
    };
    fields.push(("key".to_owned(), key.into()));
    if let Some(bits) = v6_prefix {
        fields.push(("v6_prefix".to_owned(), u64::from(bits).into()));
    }
    fields.push(("status".to_owned(), u64::from(limit.status).into()));
    fields.push(("size".to_owned(), limit.size.into()));
    fields.push(("dry_run".to_owned(), limit.dry_run.into()));
    fields.push(("on_error".to_owned(), on_error.into()));
}

/// What a route sets, as far as it does.
pub(super) fn route_settings(config: &Config, settings: &RouteSettings, fields: &mut Fields) {
    let mut set = |key: &str, value: Json| fields.push((key.to_owned(), value));
    if settings.is_unlogged {
        set("access_log", false.into());
    }
    if settings.is_uncompressed {
        set("compression", false.into());
    }
    if let Some(bytes) = settings.max_body_size {
        set("max_body_size", bytes.into());
    }
    access(&settings.access, &mut set);
    if let Some(except) = &settings.limit_except {
        let mut inner = vec![("methods".to_owned(), except.methods.as_slice().into())];
        access(&except.access, &mut |key, value| {
            inner.push((key.to_owned(), value))
        });
        set("limit_except", Json::Object(inner));
    }
    if !settings.error_pages.is_empty() {
        let pages = settings.error_pages.iter().map(|(statuses, path)| {
            let name = format!("{}-{}", statuses.start(), statuses.end());
            (name, path.as_str().into())
        });
        set("error_pages", Json::Object(pages.collect()));
    }
    let rates = settings.rate_limits.iter().filter_map(|at| {
        let limit = config.rate_limits.get(usize::from(*at))?;
        Some(limit.common.name.to_string())
    });
    let rates: Vec<String> = rates.collect();
    if !rates.is_empty() {
        set("rate_limit", rates.into());
    }
    let connections = settings.connection_limits.iter().filter_map(|at| {
        let limit = config.connection_limits.get(usize::from(*at))?;
        Some(limit.common.name.to_string())
    });
    let connections: Vec<String> = connections.collect();
    if !connections.is_empty() {
        set("connection_limit", connections.into());
    }
    let headers = &settings.headers;
    if !headers.is_empty() {
        // Their values may be secrets for clients' proxies.
        let names = |list: &[(String, String)]| {
            Json::Object(
                list.iter()
                    .map(|(name, _)| (name.clone(), HIDDEN.into()))
                    .collect(),
            )
        };
        set(
            "headers",
            object! {
                "set": names(&headers.set),
                "add": names(&headers.add),
                "remove": headers.remove.as_slice(),
            },
        );
    }
}

fn access(access: &Access, set: &mut impl FnMut(&str, Json)) {
    if !access.allow.is_empty() {
        set("allow", networks(&access.allow));
    }
    if !access.deny.is_empty() {
        set("deny", networks(&access.deny));
    }
}

fn networks(networks: &[Network]) -> Json {
    let texts: Vec<String> = networks.iter().map(ToString::to_string).collect();
    texts.into()
}
