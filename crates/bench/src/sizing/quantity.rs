//! Numbers with units on the command line. Pure.

use std::time::Duration;

/// Parses a number with one of the suffixes k, M and G (10³, 10⁶, 10⁹): `10M`, `200k`, `1.5k`, `50`.
pub(super) fn number(text: &str) -> Result<f64, String> {
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1e3),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 1e6),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 1e9),
        _ => (text, 1.0),
    };
    let wrong = || format!("{text:?} is not a number such as 50, 1.5k, 200k or 10M");
    // `parse` accepts `inf`, `nan` and signs.
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(wrong());
    }
    let value = digits.parse::<f64>().map_err(|_| wrong())? * factor;
    if value <= 1e12 { Ok(value) } else { Err(format!("{text:?} is more than 1000G")) }
}

/// A [`number`] of at least 1.
pub(super) fn count(text: &str) -> Result<f64, String> {
    number(text).and_then(|count| if count >= 1.0 { Ok(count) } else { Err(format!("{text:?} is less than 1")) })
}

/// A share between 0.05 and 1, as `0.6` or `60%`.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let value = match text.strip_suffix('%') {
        Some(percent) => number(percent)? / 100.0,
        None => number(text)?,
    };
    if (0.05..=1.0).contains(&value) { Ok(value) } else { Err(format!("{text:?} is not between 5% and 100%")) }
}

/// A time with its unit: `90s`, `20m`, `8h`, `7d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time such as 90s, 20m, 8h or 7d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let factor = match unit {
        's' => 1.0,
        'm' => 60.0,
        'h' => 3600.0,
        'd' => 86_400.0,
        _ => return Err(wrong()),
    };
    let seconds = number(&text[..text.len() - 1]).map_err(|_| wrong())? * factor;
    if (1.0..=1e10).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!("{text:?} is not between 1 s and 300 years"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn suffixes_are_powers_of_a_thousand() {
        assert_eq!(
            ["10M", "200k", "0.02", "1.5k", "2G", "7"].map(|text| number(text).unwrap()),
            [1e7, 2e5, 0.02, 1500.0, 2e9, 7.0]
        );
    }

    #[test]
    fn other_texts_are_refused_with_an_example() {
        for text in ["", "k", "M10", "-5", "+5", "inf", "NaN", "1e400", "10 M", "10MB", "1,5", "٣"] {
            let refused = number(text).unwrap_err();
            assert!(refused.contains("10M") || refused.contains("1000G"), "{text}: {refused}");
        }
        assert!(count("0.5").unwrap_err().contains("less than 1"));
        assert!(share("70").unwrap_err().contains("100%"));
        assert!(duration("5").is_err() && duration("").is_err() && duration("0s").is_err() && duration("5µ").is_err());
    }

    #[test]
    fn shares_and_times_have_units() {
        assert_eq!((share("60%"), share("0.6")), (Ok(0.6), Ok(0.6)));
        assert_eq!(duration("20m"), Ok(Duration::from_secs(1200)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = (number(&text), count(&text), share(&text), duration(&text));
        }
    }
}
