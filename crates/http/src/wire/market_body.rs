//! Bodies about markets, read into commands.

use std::collections::{HashMap, HashSet};

use bellwether_domain::market::{FeeRecipient, OUTCOME_NAME, OUTCOMES};
use bellwether_domain::money::FeeRate;
use bellwether_domain::text::{Lines, clean, fold};
use bellwether_usecases::markets::{Liquidity, MarketPatch, OpenMarket, Verdict};

use crate::fields::{Fields, Node};
use crate::wire::order_body::opening_order;

const QUESTION: usize = 300;
const DESCRIPTION: usize = 20_000;
const LABEL: usize = 40;
const TAGS: usize = 10;
const URL: usize = 2_000;
const REASON: usize = 2_000;

/// Reads a new market.
pub(crate) fn open_market(fields: &Fields<'_>) -> Option<OpenMarket> {
    let question = fields.required("question", question);
    let description = fields.or("description", String::new(), description);
    let category = fields.optional("category", label);
    let tags = fields.or("tags", Vec::new(), tags);
    let outcomes = fields.or("outcomes", vec!["YES".to_owned(), "NO".to_owned()], outcomes);
    let closes_at = fields.required("closesAt", Node::time);
    let fee_rate = fields.or("feeRate", FeeRate::ZERO, Node::rate);
    let recipients = [FeeRecipient::House, FeeRecipient::Creator];
    let fee_recipient = fields.or("feeRecipient", FeeRecipient::House, |n| n.one_of(&recipients, FeeRecipient::as_str));
    let known = outcomes.clone().unwrap_or_default();
    let liquidity = fields.optional("liquidity", |n| n.object(|f| liquidity(f, &known)));
    let opening_order = fields.optional("openingOrder", |n| n.object(opening_order));
    Some(OpenMarket {
        question: question?,
        description: description?,
        category: category?,
        tags: tags?,
        outcomes: outcomes?,
        closes_at: closes_at?,
        fee_rate: fee_rate?,
        fee_recipient: fee_recipient?,
        liquidity: liquidity?,
        opening_order: opening_order?,
    })
}

/// Reads the whole of what can be edited: what is left out is emptied.
pub(crate) fn replacement(fields: &Fields<'_>) -> Option<MarketPatch> {
    let question = fields.required("question", question);
    let description = fields.or("description", String::new(), description);
    let category = fields.optional("category", label);
    let tags = fields.or("tags", Vec::new(), tags);
    let closes_at = fields.required("closesAt", Node::time);
    Some(MarketPatch {
        question: Some(question?),
        description: Some(description?),
        category: Some(category?),
        tags: Some(tags?),
        closes_at: Some(closes_at?),
    })
}

/// Reads a part of what can be edited; `null` empties a description, a category or tags.
pub(crate) fn patch(fields: &Fields<'_>) -> Option<MarketPatch> {
    let question = fields.kept("question", question);
    let description = fields.removable("description", String::new(), description);
    let category = fields.removable("category", None, |n| label(n).map(Some));
    let tags = fields.removable("tags", Vec::new(), tags);
    let closes_at = fields.kept("closesAt", Node::time);
    Some(MarketPatch {
        question: question?,
        description: description?,
        category: category?,
        tags: tags?,
        closes_at: closes_at?,
    })
}

fn question(node: &Node<'_>) -> Option<String> {
    node.text(Lines::One, 1, QUESTION)
}

fn description(node: &Node<'_>) -> Option<String> {
    node.text(Lines::Many, 0, DESCRIPTION)
}

/// A category or tag: lower case, which may be longer than what was given.
pub(crate) fn label(node: &Node<'_>) -> Option<String> {
    let lower = node.text(Lines::One, 1, LABEL)?.to_lowercase();
    clean(&lower, Lines::One, 1, LABEL).map_or_else(|e| node.fail("invalid", e.to_string()), Some)
}

fn tags(node: &Node<'_>) -> Option<Vec<String>> {
    let tags = node.list(0, TAGS, label)?;
    let distinct: HashSet<&String> = tags.iter().collect();
    if distinct.len() == tags.len() { Some(tags) } else { node.fail("duplicate", "must not name a tag twice") }
}

fn outcomes(node: &Node<'_>) -> Option<Vec<String>> {
    let names = node.list(*OUTCOMES.start(), *OUTCOMES.end(), outcome_name)?;
    let distinct: HashSet<String> = names.iter().map(|name| fold(name)).collect();
    if distinct.len() == names.len() {
        Some(names)
    } else {
        node.fail("duplicate", "must differ, also without regard to case")
    }
}

/// The name of a new outcome. It is folded again whenever somebody names it in another case, so it may not grow by that.
fn outcome_name(node: &Node<'_>) -> Option<String> {
    const LONG: &str = "must have at most 60 characters, also where each that stands for several is spelled out";
    let name = node.text(Lines::One, 1, OUTCOME_NAME)?;
    if fold(&name).chars().nth(OUTCOME_NAME).is_none() { Some(name) } else { node.fail("invalid", LONG) }
}

fn liquidity(fields: &Fields<'_>, outcomes: &[String]) -> Option<Liquidity> {
    let subsidy = fields.required("subsidy", Node::amount);
    let probabilities = fields.optional("probabilities", |n| probabilities(n, outcomes));
    Some(Liquidity { subsidy: subsidy?, probabilities: probabilities? })
}

/// Opening probabilities: a list in the order of the outcomes, or an object by their names.
fn probabilities(node: &Node<'_>, outcomes: &[String]) -> Option<Vec<u16>> {
    let given: Vec<u16> = if node.is_list() {
        node.list(*OUTCOMES.start(), *OUTCOMES.end(), Node::part)?
    } else {
        named_probabilities(node, outcomes)?
    };
    let sum: u64 = given.iter().map(|part| u64::from(*part)).sum();
    if outcomes.is_empty() || (given.len() == outcomes.len() && sum == 1000 && !given.contains(&0)) {
        return Some(given);
    }
    node.fail("invalid", "must be one above zero for each outcome, adding up to exactly 1")
}

fn named_probabilities(node: &Node<'_>, outcomes: &[String]) -> Option<Vec<u16>> {
    let entries = node.entries()?;
    // Before any name is folded: there may be as many as fit into a body.
    let most = if outcomes.is_empty() { *OUTCOMES.end() } else { outcomes.len() };
    if entries.len() > most {
        return node.fail("invalid", "must name the outcomes and nothing else");
    }
    let key = |name: &str| clean(name, Lines::One, 1, OUTCOME_NAME).ok().map(|name| fold(&name));
    let named: HashMap<String, &Node<'_>> =
        entries.iter().filter_map(|(name, part)| Some((key(name)?, part))).collect();
    let of_outcome = |outcome: &String| {
        let part = named.get(&fold(outcome));
        part.map_or_else(|| node.fail("required", format!("must name {outcome:?}")), |part| part.part())
    };
    let read: Vec<Option<u16>> = outcomes.iter().map(of_outcome).collect();
    read.into_iter().collect()
}

/// Reads `outcome` or `weights`.
pub(crate) fn verdict(fields: &Fields<'_>) -> Option<Verdict> {
    let outcome = fields.optional("outcome", |n| n.text(Lines::One, 1, OUTCOME_NAME));
    let weights = fields.optional("weights", weights);
    match (outcome?, weights?) {
        (Some(outcome), None) => Some(Verdict::Outcome(outcome)),
        (None, Some(weights)) => Some(Verdict::Weights(weights)),
        (None, None) => fields.fail("outcome", "required", "or weights is required"),
        (Some(_), Some(_)) => fields.fail("weights", "conflict", "cannot be combined with outcome"),
    }
}

fn weights(node: &Node<'_>) -> Option<Vec<(String, u16)>> {
    let entries = node.entries()?;
    if !(1..=*OUTCOMES.end()).contains(&entries.len()) {
        return node.fail("length", "must name 1 to 20 outcomes");
    }
    let read: Vec<Option<(String, u16)>> = entries
        .iter()
        .map(|(name, part)| {
            let name = clean(name, Lines::One, 1, OUTCOME_NAME)
                .map_or_else(|e| node.fail("invalid", format!("names an outcome that {e}")), Some);
            part.part().and_then(|part| Some((name?, part)))
        })
        .collect();
    read.into_iter().collect()
}

/// Reads a proposal: a verdict and where the evidence is.
pub(crate) fn proposal(fields: &Fields<'_>) -> Option<(Verdict, Option<String>)> {
    let verdict = verdict(fields);
    let evidence = fields.optional("evidenceUrl", url);
    Some((verdict?, evidence?))
}

fn url(node: &Node<'_>) -> Option<String> {
    const FORM: &str = "must be an address of the form https://example.org/page";
    let text = node.text(Lines::One, 1, URL)?;
    let rest = ["https://", "http://"].iter().find_map(|scheme| {
        text.get(..scheme.len()).filter(|s| s.eq_ignore_ascii_case(scheme)).and(text.get(scheme.len()..))
    });
    let has_host = rest.is_some_and(|rest| rest.chars().next().is_some_and(|c| c.is_alphanumeric() || c == '['));
    if has_host && !text.contains(char::is_whitespace) { Some(text) } else { node.fail("invalid", FORM) }
}

/// Reads `reason`.
pub(crate) fn reason(fields: &Fields<'_>) -> Option<String> {
    fields.required("reason", |n| n.text(Lines::Many, 1, REASON))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Fault;
    use crate::fields::{Place, read};
    use crate::json::parse;

    fn body<T>(text: &str, reader: impl FnOnce(&Fields<'_>) -> Option<T>) -> Result<T, Fault> {
        read(&parse(text.as_bytes()).unwrap(), Place::Body, reader)
    }

    fn faulty<T: std::fmt::Debug>(text: &str, reader: impl FnOnce(&Fields<'_>) -> Option<T>) -> Vec<String> {
        body(text, reader).unwrap_err().details().iter().filter_map(|d| d.field.clone()).collect()
    }

    #[test]
    fn opens_a_yes_no_market_from_a_question_and_a_time() {
        let market = body(r#"{"question":" Rain? ","closesAt":"2030-01-01T00:00:00Z"}"#, open_market).unwrap();
        assert_eq!(market.question, "Rain?");
        assert_eq!(market.outcomes, ["YES", "NO"]);
        assert!(market.liquidity.is_none() && market.opening_order.is_none());
    }

    #[test]
    fn names_every_fault_of_a_market() {
        let faults = faulty(
            r#"{"question":"","description":7,"category":"a\u0000b","tags":["x","X"],"outcomes":["Yes","YES"],
                "closesAt":"soon","feeRate":"0.2","feeRecipient":"me","liquidity":{"subsidy":"1.2345","probabilities":["0.5"]},
                "openingOrder":{"outcome":"YES","side":"up","type":"limit","price":"1"}}"#,
            open_market,
        );
        let expected = [
            "question",
            "description",
            "category",
            "tags",
            "outcomes",
            "closesAt",
            "feeRate",
            "feeRecipient",
            "liquidity.subsidy",
            "liquidity.probabilities",
            "openingOrder.side",
            "openingOrder.price",
            "openingOrder.quantity",
        ];
        assert_eq!(faults, expected);
    }

    #[test]
    fn takes_probabilities_in_order_or_by_name() {
        let of = |probabilities: &str| {
            let text = format!(
                r#"{{"question":"Q","closesAt":"2030-01-01T00:00:00Z","liquidity":{{"subsidy":"10","probabilities":{probabilities}}}}}"#
            );
            body(&text, open_market).map(|m| m.liquidity.unwrap().probabilities.unwrap())
        };
        assert_eq!(of(r#"["0.2","0.8"]"#).unwrap(), [200, 800]);
        assert_eq!(of(r#"{"no":"0.8","YES":0.2}"#).unwrap(), [200, 800]);
        for bad in [
            r#"["0.5","0.6"]"#,
            r#"["0","1"]"#,
            r#"{"YES":"1"}"#,
            r#"["0.2","0.3","0.5"]"#,
            "7",
            r#"{"YES":"0.5","NO":"0.5","X":"0"}"#,
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn refuses_more_probabilities_than_outcomes_before_it_looks_at_their_names() {
        let named: Vec<String> = (0..10_000).map(|n| format!("\"{n}\u{fdfa}\":\"0.1\"")).collect();
        let text = format!(
            r#"{{"question":"Q","closesAt":"2030-01-01T00:00:00Z","liquidity":{{"subsidy":"10","probabilities":{{{}}}}}}}"#,
            named.join(",")
        );
        assert_eq!(faulty(&text, open_market), ["liquidity.probabilities"]);
    }

    #[test]
    fn refuses_outcomes_whose_names_grow_beyond_the_limit_where_case_is_disregarded() {
        let of = |name: &str| {
            let text =
                format!(r#"{{"question":"Q","closesAt":"2030-01-01T00:00:00Z","outcomes":["{name}","Nothing"]}}"#);
            body(&text, open_market).map(|market| market.outcomes)
        };
        // It stands for 18 characters.
        assert!(of(&"\u{fdfa}".repeat(3)).is_ok() && of(&"é".repeat(60)).is_ok());
        let fault = of(&"\u{fdfa}".repeat(4)).unwrap_err();
        assert_eq!(fault.details()[0].field.as_deref(), Some("outcomes[0]"));
        assert!(fault.details()[0].message.contains("at most 60 characters"), "{}", fault.details()[0].message);
    }

    #[test]
    fn patches_what_is_named_and_empties_what_is_null() {
        let patch_of = body(r#"{"category":null,"tags":null}"#, patch).unwrap();
        assert_eq!((patch_of.category, patch_of.tags, patch_of.question), (Some(None), Some(vec![]), None));
        assert_eq!(faulty(r#"{"question":null,"closesAt":null}"#, patch), ["question", "closesAt"]);
        assert_eq!(faulty("{}", replacement), ["question", "closesAt"]);
    }

    #[test]
    fn takes_a_verdict_by_outcome_or_by_weights() {
        assert!(matches!(body(r#"{"outcome":"YES"}"#, verdict).unwrap(), Verdict::Outcome(name) if name == "YES"));
        let weights = body(r#"{"weights":{"YES":"0.600","NO":0.4}}"#, verdict).unwrap();
        assert!(matches!(weights, Verdict::Weights(w) if w == [("NO".to_owned(), 400), ("YES".to_owned(), 600)]));
        assert_eq!(faulty("{}", verdict), ["outcome"]);
        assert_eq!(faulty(r#"{"outcome":"YES","weights":{"YES":1}}"#, verdict), ["weights"]);
        assert_eq!(faulty(r#"{"weights":{"YES":"1.5","NO":"x"}}"#, verdict), ["weights.NO", "weights.YES"]);
        let composed = body(r#"{"weights":{" e\u0301 ":1}}"#, verdict).unwrap();
        assert!(matches!(composed, Verdict::Weights(w) if w == [("é".to_owned(), 1000)]));
        assert_eq!(faulty(&format!(r#"{{"weights":{{"{}":1}}}}"#, "x".repeat(61)), verdict), ["weights"]);
    }

    #[test]
    fn takes_web_addresses_alone_as_evidence() {
        let of = |url: &str| body(&format!(r#"{{"outcome":"YES","evidenceUrl":"{url}"}}"#), proposal).is_ok();
        assert!(of("https://example.org/a?b=c") && of("HTTP://example.org"));
        for bad in ["javascript:alert(1)", "ftp://example.org", "https://", "https://a b", "example.org", "https:///x"]
        {
            assert!(!of(bad), "{bad}");
        }
    }
}
