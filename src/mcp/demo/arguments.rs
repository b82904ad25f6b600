//! The arguments of one tool call, after they were checked against the tool's schema.

use sonic_rs::{JsonValueTrait, Value};

/// Checked arguments. A missing one reads as the default that its schema names.
#[derive(Clone, Debug)]
pub(super) struct Arguments<'s> {
    object: Value,
    schema: Option<&'s Value>,
}

impl<'s> Arguments<'s> {
    /// Checks `object` against `schema`; the error is a sentence for the model.
    pub(super) fn checked(object: Value, schema: &'s Value) -> Result<Self, String> {
        super::schema::check(schema, &object)?;
        Ok(Self {
            object,
            schema: Some(schema),
        })
    }

    /// Arguments that were checked elsewhere.
    pub(super) const fn unchecked(object: Value) -> Self {
        Self {
            object,
            schema: None,
        }
    }

    fn find(&self, name: &str) -> Option<&Value> {
        let property = |schema: &'s Value| schema.get("properties")?.get(name)?.get("default");
        self.object
            .get(name)
            .or_else(|| self.schema.and_then(property))
    }

    /// A string; empty if there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.find(name)
            .and_then(|value| value.as_str())
            .unwrap_or_default()
    }

    /// A number; zero if there is none.
    pub(super) fn number(&self, name: &str) -> f64 {
        self.find(name)
            .and_then(|value| value.as_f64())
            .unwrap_or_default()
    }

    /// A whole number. The schema bounds it, so that it fits.
    pub(super) fn integer(&self, name: &str) -> i64 {
        self.number(name) as i64
    }

    /// The object itself.
    pub(super) const fn object(&self) -> &Value {
        &self.object
    }
}
