//! Tables of quantities: how they are written, what is refused, how they add up.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn q(text: &str) -> Quantity {
    text.parse().unwrap()
}

#[test]
fn quantities_are_written_in_canonical_form() {
    let table = [
        ("0", "0"),
        ("0m", "0"),
        ("-0Ki", "0"),
        ("0.000", "0"),
        ("1", "1"),
        ("+1", "1"),
        ("-1", "-1"),
        ("01.50", "1500m"),
        (".5", "500m"),
        ("5.", "5"),
        ("0.5", "500m"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("1000", "1k"),
        ("100000", "100k"),
        ("1M", "1M"),
        ("1000k", "1M"),
        ("1024", "1024"),
        ("1024Ki", "1Mi"),
        ("1536Ki", "1536Ki"),
        ("1000Mi", "1000Mi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("0.1Mi", "104857600m"),
        ("1Ei", "1Ei"),
        ("1024Ei", "9223372036854775807"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("12e2", "1200"),
        ("1e-3", "1e-3"),
        ("1E", "1E"),
        ("1n", "1n"),
        ("0.1n", "1n"),
        ("-0.1n", "-1n"),
        ("1.0000000001", "1000000001n"),
        ("100u", "100u"),
        ("10E", "10E"),
        ("1e30", "9223372036854775807"),
    ];
    for (text, canonical) in table {
        assert_eq!(q(text).to_string(), canonical, "{text}");
    }
}

#[test]
fn what_is_no_quantity_is_refused_in_upstreams_words() {
    for text in ["", "aoeu", " 1", "1 ", "1.1.M", "1+1.0M", "1e3e", "0.1am", "1_000", "1e3.5", "ä"] {
        assert_eq!(text.parse::<Quantity>(), Err(BadQuantity::Format), "{text:?}");
    }
    for text in [".", "m", "+", "-Ki", ".e3"] {
        assert_eq!(text.parse::<Quantity>(), Err(BadQuantity::Number), "{text:?}");
    }
    for text in ["1i", "0.1mi", ".5i", "1K", "1ki", "1mM", "1e", "1e+", "1Kii", "1k3", "--1", "1e99999999999"] {
        assert_eq!(text.parse::<Quantity>(), Err(BadQuantity::Suffix), "{text:?}");
    }
}

#[test]
fn amounts_compare_whatever_their_suffix() {
    assert_eq!(q("1"), q("1000m"));
    assert_eq!(q("1Ki"), q("1024"));
    assert!(q("1Gi") > q("1G"));
    assert!(q("-1") < q("0"));
    assert!(q("0.1") < q("101m"));
}

#[test]
fn long_numbers_are_rounded_up_or_capped() {
    let fraction = "0.".to_owned() + &"3".repeat(60);
    assert_eq!(q(&fraction).to_string(), "333333334n");
    let whole = "9".repeat(60);
    assert_eq!(q(&whole).value(), i64::MAX);
    assert_eq!(q(&format!("{whole}Ki")).value(), i64::MAX);
    assert_eq!(q(&format!("-{whole}")).value(), -i64::MAX);
    assert_eq!(q("1e2147483647").value(), i64::MAX);
    assert_eq!(q("1e-2147483648").to_string(), "1e-9");
}

#[test]
fn values_round_away_from_zero() {
    assert_eq!((q("1.1").value(), q("-1.1").value(), q("1100u").milli_value()), (2, -2, 2));
    assert_eq!(q("1100u").rounded_to_millis().to_string(), "2m");
    assert_eq!(q("64Mi").value(), 64 << 20);
}

#[test]
fn sums_keep_the_first_ones_suffix() {
    let mut sum = Quantity::ZERO;
    sum += q("1Gi");
    sum += q("512Mi");
    assert_eq!(sum.to_string(), "1536Mi");
    sum -= q("2Gi");
    assert_eq!(sum.to_string(), "-512Mi");
}

#[test]
fn json_numbers_are_quantities_too() {
    assert_eq!(Quantity::of(&json!(2)).unwrap().to_string(), "2");
    assert_eq!(Quantity::of(&json!(0.25)).unwrap().to_string(), "250m");
    assert_eq!(Quantity::of(&json!(null)), Err(BadQuantity::Format));
}

proptest! {
    #[test]
    fn the_canonical_form_is_the_same_amount(text in "[+-]?[0-9]{1,9}(\\.[0-9]{0,6})?(n|u|m|k|M|G|Ki|Mi|Gi|e3|E-2)?") {
        let amount = q(&text);
        let canonical = amount.to_string();
        prop_assert_eq!(q(&canonical), amount);
        // As upstream: `687.5Ki` becomes `704000`, which without its suffix becomes `704k`. Then it stays.
        let again = q(&canonical).to_string();
        prop_assert_eq!(q(&again).to_string(), again);
    }

    #[test]
    fn no_text_panics(text in ".{0,40}") {
        let _ = text.parse::<Quantity>();
    }
}
