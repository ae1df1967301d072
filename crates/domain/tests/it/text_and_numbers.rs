//! Texts and numbers at their edges.

use bellwether_domain::money::{Credits, DecimalError, FeeRate, Overflow, Price, Shares};
use bellwether_domain::text::{DisplayName, Email, Lines, Slug, TextError, clean};
use proptest::prelude::*;

/// Threat 20.
#[test]
fn decimals_are_read_exactly_or_not_at_all() {
    assert_eq!(Credits::parse("12.345"), Ok(Credits::from_mills(12_345)));
    assert_eq!(Credits::parse("0.1"), Ok(Credits::from_mills(100)));
    assert_eq!(Credits::parse("1.000000"), Ok(Credits::from_mills(1_000)));
    assert_eq!(Credits::parse("-0.001"), Ok(Credits::from_mills(-1)));
    assert_eq!(Credits::parse("9223372036854775.807"), Ok(Credits::MAX));
    assert_eq!(Credits::parse("9223372036854775.808"), Err(DecimalError::OutOfRange));
    assert_eq!(Credits::parse("1.2345"), Err(DecimalError::TooManyDecimals { allowed: 3 }));
    for bad in ["", ".", "1.", ".5", "+1", "1e3", "NaN", "Infinity", "１２", "1,5", " 1", "1 ", "--1", "0x10", "1_000"]
    {
        assert_eq!(Credits::parse(bad), Err(DecimalError::Malformed), "{bad:?}");
    }
    assert_eq!(Price::parse("0.999").map(Price::mills), Ok(999));
    assert_eq!(Price::parse("0"), Err(DecimalError::OutOfRange));
    assert_eq!(Price::parse("1"), Err(DecimalError::OutOfRange));
    assert_eq!(FeeRate::parse("0.0125").map(FeeRate::bps), Ok(125));
}

/// Threat 33.
#[test]
fn sums_and_products_that_leave_the_range_are_errors() {
    assert_eq!(Credits::MAX.plus(Credits::from_mills(1)), Err(Overflow));
    assert_eq!(Credits::from_mills(i64::MIN).minus(Credits::from_mills(1)), Err(Overflow));
    assert_eq!(Price::MAX.cost(Shares::new(i64::MAX)), Err(Overflow));
    assert_eq!(Shares::new(i64::MAX).set_value(), Err(Overflow));
}

/// Threat 21.
#[test]
fn hostile_text_is_refused_or_made_harmless() {
    for bad in ["a\u{0}b", "a\u{202e}b", "a\u{200b}b", "a\u{feff}b", "a\u{7}b", "a\nb", "a\u{2028}b", "a\u{fffe}b"] {
        assert!(matches!(clean(bad, Lines::One, 1, 50), Err(TextError::Forbidden(_))), "{bad:?}");
    }
    assert_eq!(clean("a\r\n\tb", Lines::Many, 1, 50).as_deref(), Ok("a\n\tb"));
    assert_eq!(clean("e\u{301}", Lines::One, 1, 50).as_deref(), Ok("\u{e9}"));
    assert_eq!(clean("  ", Lines::One, 1, 50), Err(TextError::Empty));
    assert_eq!(clean(&"x".repeat(51), Lines::One, 1, 50), Err(TextError::TooLong { max: 50 }));
    assert_eq!(
        DisplayName::parse("<script>alert(1)</script>").map(|n| n.as_str().to_owned()).as_deref(),
        Ok("<script>alert(1)</script>")
    );
}

/// Threat 2, as far as it is about which addresses are the same.
#[test]
fn addresses_are_the_same_without_regard_to_case_in_every_script() {
    for (one, other) in [
        ("Ann@Example.org", "ann@example.ORG"),
        ("ÄÖ@x.org", "äö@x.org"),
        ("e\u{301}@x.org", "É@x.org"),
        ("ΣΑΣ@x.org", "σασ@x.org"),
    ] {
        let key = |text: &str| Email::parse(text).unwrap().key();
        assert_eq!(key(one), key(other), "{one} {other}");
    }
    for bad in ["", "a", "@x.org", "a@", "a@@b.org ,", "a b@x.org", "a@x..org", "a@-x.org", "a\u{0}@x.org", "<a>@x.org"]
    {
        assert!(Email::parse(bad).is_err(), "{bad:?}");
    }
}

/// What is kept can be read, also where no mail reaches it; what is new is asked for more.
#[test]
fn addresses_that_no_mail_reaches_are_told_apart() {
    let label = "x".repeat(63);
    let reach = |text: &str| Email::parse(text).unwrap().check_reachable();
    for good in ["a@x.org", "a.b.c@x.org", "a@localhost", "ä.ö@ü.org", &format!("a@{label}.org")] {
        assert_eq!(reach(good), Ok(()), "{good}");
    }
    for bad in [".a@x.org", "a.@x.org", "a..b@x.org", ".@x.org", &format!("a@{label}x.org"), &format!("a@b.{label}x")] {
        assert!(matches!(reach(bad), Err(TextError::Malformed(_))), "{bad}");
    }
    assert_eq!(Email::of_the_house().check_reachable(), Ok(()));
}

#[test]
fn slugs_are_plain_and_never_look_like_an_id() {
    assert_eq!(Slug::from_question("Will Zoë win — really?", "ab12").as_str(), "will-zoe-win-really-ab12");
    assert_eq!(Slug::from_question("???", "ab12").as_str(), "market-ab12");
    assert!(Slug::parse("0190b5a8-7b1a-7c3e-9d2f-1a2b3c4d5e6f").is_err());
    for bad in ["", "-a", "a-", "a--b", "A", "a_b", "ä"] {
        assert!(Slug::parse(bad).is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn every_amount_survives_being_written_and_read(mills in any::<i64>()) {
        let amount = Credits::from_mills(mills);
        prop_assert_eq!(Credits::parse(&amount.to_string()), Ok(amount));
    }

    /// Threat 34: a fee is the formula rounded up, and a seller's proceeds always cover it.
    #[test]
    fn a_fee_is_rounded_up_and_never_more_than_the_cost_or_the_rest(bps in 0..=1000_i64, shares in 1..=1_000_000_000_i64, mills in 1..=999_i64) {
        let rate = FeeRate::from_bps(bps).unwrap();
        let cost = shares * mills;
        let fee = rate.fee(Shares::new(shares), Credits::from_mills(cost)).unwrap().mills();
        let exact = i128::from(bps) * i128::from(shares) * i128::from(mills) * i128::from(1000 - mills);
        prop_assert_eq!(i128::from(fee), (exact + 9_999_999) / 10_000_000);
        prop_assert!(fee <= cost && fee <= shares * 1000 - cost);
    }

    #[test]
    fn any_text_is_cleaned_or_refused_and_cleaning_twice_changes_nothing(text in any::<String>()) {
        if let Ok(cleaned) = clean(&text, Lines::Many, 0, 1000) {
            prop_assert_eq!(clean(&cleaned, Lines::Many, 0, 1000), Ok(cleaned));
        }
        if let Ok(email) = Email::parse(&text) {
            prop_assert_eq!(Email::parse(email.as_str()).map(|e| e.key()), Ok(email.key()));
        }
        let slug = Slug::from_question(&text, "0a1b");
        prop_assert!(Slug::parse(slug.as_str()).is_ok());
    }
}
