//! JSON Schemas, taken strictly: what they do not name must not be there.

use jsonschema::Validator;
use serde_json::Value;

/// A schema that values are held against.
#[derive(Debug)]
pub struct Strict(Validator);

impl Strict {
    /// A schema, after all objects in it were closed: those that a server publishes are open, since fields
    /// may come without a new version, but a test must see a field that no schema names.
    ///
    /// # Panics
    /// When it is no schema of draft 2020-12.
    #[must_use]
    pub fn of(schema: &Value) -> Self {
        jsonschema::draft202012::meta::validate(schema).expect("a schema as its dialect has it");
        let mut closed = schema.clone();
        close(&mut closed);
        let options = jsonschema::options().should_validate_formats(true);
        Self(options.build(&closed).expect("a schema that can be used"))
    }

    /// Checks a value.
    ///
    /// # Panics
    /// When it is not as the schema says.
    #[track_caller]
    pub fn check(&self, value: &Value, what: &str) {
        let faults: Vec<String> =
            self.0.iter_errors(value).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
        assert!(faults.is_empty(), "{what} is not as its schema says: {}\n{value:#}", faults.join("\n"));
    }

    /// Whether a value is as the schema says.
    #[must_use]
    pub fn accepts(&self, value: &Value) -> bool {
        self.0.is_valid(value)
    }
}

/// Forbids what no schema of an object names.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.values_mut().for_each(close);
            let is_object = fields.get("properties").is_some_and(Value::is_object) && fields.contains_key("type");
            if is_object && !fields.contains_key("additionalProperties") {
                fields.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}
