//! `fields=` and `include=`: which part of a thing is shown, and what is shown with it.

use serde::Serialize;
use serde_json::Value;

use crate::faults::Fault;
use crate::fields::{Fields, Node};

/// What of a thing is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// These fields; all where none are named.
    fields: Option<Vec<String>>,
    /// These neighbours as well.
    include: Vec<String>,
}

impl View {
    /// Reads `fields`, out of `known`, and where there is something to include, `include`.
    pub(crate) fn read(query: &Fields<'_>, known: &[&str], includes: &[&str]) -> Option<Self> {
        let with_includes: Vec<&str> = known.iter().chain(includes).copied().collect();
        let fields = query.optional("fields", |n| names(n, &with_includes));
        let include = if includes.is_empty() {
            Some(Vec::new())
        } else {
            query.or("include", Vec::new(), |n| names(n, includes))
        };
        Some(Self { fields: fields?, include: include? })
    }

    /// Whether all fields are wanted and no neighbour.
    pub(crate) fn is_plain(&self) -> bool {
        self.fields.is_none() && self.include.is_empty()
    }

    /// Whether that neighbour is wanted: to be included, or as one of the fields.
    pub(crate) fn includes(&self, name: &str) -> bool {
        self.include.iter().chain(self.fields.iter().flatten()).any(|wanted| wanted == name)
    }

    /// The thing as JSON text, without what is not wanted.
    pub(crate) fn show(&self, thing: &impl Serialize) -> Result<String, Fault> {
        let Some(fields) = &self.fields else { return serde_json::to_string(thing).map_err(Fault::internal) };
        let mut value = serde_json::to_value(thing).map_err(Fault::internal)?;
        match &mut value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.trim(item, fields)),
            item => self.trim(item, fields),
        }
        Ok(value.to_string())
    }

    fn trim(&self, item: &mut Value, fields: &[String]) {
        if let Value::Object(members) = item {
            members.retain(|name, _| fields.contains(name) || self.includes(name));
        }
    }
}

/// A list of names out of `known`, none of them twice.
fn names(node: &Node<'_>, known: &[&str]) -> Option<Vec<String>> {
    let (mut names, mut unknown) = (Vec::new(), Vec::new());
    for name in node.string()?.split(',') {
        if !known.contains(&name) {
            unknown.push(name);
        } else if names.iter().any(|named| named == name) {
            return node.reject("duplicate", format!("names {name} twice"));
        } else {
            names.push(name.to_owned());
        }
    }
    if unknown.is_empty() {
        return Some(names);
    }
    node.reject("unknown", format!("names what is not there: {}; there are {}", unknown.join(", "), known.join(", ")))
}

/// That the list of a thing's fields is the one that is serialised.
#[cfg(test)]
pub(crate) fn assert_fields(known: &[&str], thing: &impl Serialize) {
    let Value::Object(members) = serde_json::to_value(thing).unwrap() else { panic!("an object") };
    let mut known: Vec<&str> = known.to_vec();
    known.sort_unstable();
    let mut shown: Vec<&str> = members.keys().map(String::as_str).collect();
    shown.sort_unstable();
    assert_eq!(shown, known);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::query::read_query;

    fn view(query: &str) -> Result<View, Fault> {
        read_query(query, |q| View::read(q, &["id", "name"], &["creator"]))
    }

    #[test]
    fn trims_to_what_is_wanted() {
        let thing = json!({ "id": 1, "name": "x", "creator": { "id": 2 } });
        assert_eq!(view("fields=id").unwrap().show(&thing).unwrap(), r#"{"id":1}"#);
        assert_eq!(view("fields=id&include=creator").unwrap().show(&thing).unwrap(), r#"{"creator":{"id":2},"id":1}"#);
        assert_eq!(view("").unwrap().show(&json!([1])).unwrap(), "[1]");
        assert_eq!(view("fields=name").unwrap().show(&json!([thing])).unwrap(), r#"[{"name":"x"}]"#);
    }

    #[test]
    fn names_each_field_once() {
        for bad in ["fields=id,name,id", "include=creator,creator"] {
            let fault = view(bad).unwrap_err();
            assert_eq!(fault.status().as_u16(), 400, "{bad}");
            assert!(fault.message().contains("twice") || fault.details()[0].message.contains("twice"), "{bad}");
        }
    }

    #[test]
    fn names_fields_that_are_not_there() {
        for bad in ["fields=id,secret", "fields=", "include=password", "include="] {
            let fault = view(bad).unwrap_err();
            assert_eq!(fault.status().as_u16(), 400, "{bad}");
        }
        assert!(view("fields=id,secret").unwrap_err().message().contains("secret"));
    }
}
