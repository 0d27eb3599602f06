//! Single values of the configuration: checked, with messages that say what to write.

use std::net::SocketAddr;
use std::path::PathBuf;

use fanal_protocol::identity::{NAME_BYTES_MAX, check_name};
use figment::value::{Num, Value};

/// A broker's name.
pub(crate) fn name(value: &Value) -> Result<String, String> {
    let name = text(value)?;
    check_name(&name).map_err(|error| error.to_string())?;
    Ok(name)
}

/// A name made from the host's.
pub(crate) fn name_of_host(host: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '-' };
    let name: String = host.chars().map(fits).take(NAME_BYTES_MAX).collect();
    if check_name(&name).is_ok() && name != "(none)" { name } else { "fanal".to_owned() }
}

/// An address to listen on.
pub(crate) fn address(value: &Value) -> Result<SocketAddr, String> {
    let text = text(value)?;
    let text = text.strip_prefix("localhost:").map_or(text.clone(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| {
        format!("`{text}` is not an address to listen on: write IP:PORT, as in 127.0.0.1:4600 or [::]:4600")
    })
}

/// An address to dial.
pub(crate) fn host_and_port(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    let fits =
        |(host, port): (&str, &str)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_bare_v6 = text.parse::<std::net::Ipv6Addr>().is_ok();
    if !is_bare_v6 && text.rsplit_once(':').is_some_and(fits) {
        return Ok(text);
    }
    Err(format!(
        "`{text}` is not an address to dial: write HOST:PORT, as in jfk.example.org:4600 or [::1]:4600"
    ))
}

/// Host names without ports: a list, or text with commas.
pub(crate) fn host_names(value: &Value) -> Result<Vec<String>, String> {
    let texts = match value {
        Value::Array(_, items) => items.iter().map(text).collect::<Result<Vec<_>, _>>()?,
        Value::String(_, list) => list.split(',').map(str::trim).map(str::to_owned).collect(),
        other => {
            return Err(format!("{} is not a list of host names: write [\"ewr\", \"jfk\"]", shown(other)));
        }
    };
    let given = texts.into_iter().filter(|name| !name.is_empty());
    given.map(|name| if is_host_name(&name) { Ok(name) } else { Err(not_a_host_name(&name)) }).collect()
}

fn not_a_host_name(text: &str) -> String {
    format!(
        "`{text}` is not a host name: write the name alone, as in ewr.example.org, without scheme, port or `*`"
    )
}

fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        (1..=63).contains(&label.len()) && label.chars().all(fits)
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// A path.
pub(crate) fn path(value: &Value) -> Result<PathBuf, String> {
    let text = text(value)?;
    if text.is_empty() {
        return Err("the path is empty: name a directory".into());
    }
    Ok(text.into())
}

/// A number or a size with a unit.
pub(crate) fn count(value: &Value, min: u64) -> Result<u64, String> {
    let expected = |got: &str| {
        format!("{got} is not a size: write a whole number, or text with a unit such as \"64 MiB\"")
    };
    let count = match value {
        Value::Num(_, number) => whole(*number).ok_or_else(|| expected(&shown(value)))?,
        Value::String(_, text) => size(text).ok_or_else(|| expected(&shown(value)))?,
        other => return Err(expected(&shown(other))),
    };
    if count < min {
        return Err(format!("{count} is too small: at least {min} is needed"));
    }
    Ok(count)
}

/// A duration, in milliseconds.
pub(crate) fn duration(value: &Value, min: u64) -> Result<u64, String> {
    let given = crate::duration::parse(&text(value)?)?.as_millis();
    let millis = u64::try_from(given).unwrap_or(u64::MAX);
    if millis < min {
        return Err(format!("{millis}ms is too short: at least {min}ms are needed"));
    }
    Ok(millis)
}

fn whole(number: Num) -> Option<u64> {
    let number =
        number.to_u128().or_else(|| number.to_i128().and_then(|number| u128::try_from(number).ok()))?;
    u64::try_from(number).ok()
}

/// A number of bytes, with a unit or without.
pub(crate) fn size(text: &str) -> Option<u64> {
    let text = text.trim().replace('_', "");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn text(value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("{} is not text: put it in quotes", shown(value)))
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("`{text}`"),
        Value::Bool(_, flag) => format!("`{flag}`"),
        Value::Num(_, number) => match (number.to_i128(), number.to_u128(), number.to_f64()) {
            (Some(number), _, _) => format!("`{number}`"),
            (_, Some(number), _) => format!("`{number}`"),
            (_, _, Some(number)) => format!("`{number}`"),
            _ => "a number".to_owned(),
        },
        Value::Dict(..) => "a table".to_owned(),
        Value::Array(..) => "a list".to_owned(),
        _ => "this".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in
            [("1048576", 1 << 20), ("1 MiB", 1 << 20), ("64MiB", 64 << 20), ("2 GB", 2_000_000_000)]
        {
            assert_eq!(count(&Value::from(text), 1), Ok(bytes), "{text}");
        }
        assert_eq!(count(&Value::from(4096u32), 1), Ok(4096));
        for bad in ["", "MiB", "1.5 GiB", "-1", "5 parsecs", "99999999999 TiB"] {
            assert!(count(&Value::from(bad), 1).unwrap_err().contains("64 MiB"), "{bad}");
        }
        assert!(count(&Value::from(-5), 1).is_err());
        assert!(count(&Value::from(5), 10).unwrap_err().contains("at least 10"));
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration(&Value::from("7d"), 1_000), Ok(604_800_000));
        assert!(duration(&Value::from("999ms"), 1_000).unwrap_err().contains("at least 1000ms"));
        assert!(duration(&Value::from("soon"), 1).unwrap_err().contains("7d"));
        assert!(duration(&Value::from(7), 1).unwrap_err().contains("quotes"));
    }

    #[test]
    fn host_names_come_as_a_list_or_as_text() {
        let list = Value::from(vec!["ewr", "ewr.example.org"]);
        let text = Value::from("ewr, ewr.example.org,");
        assert_eq!(host_names(&list), host_names(&text));
        assert_eq!(host_names(&list).map(|names| names.len()), Ok(2));
        assert_eq!(host_names(&Value::from("")), Ok(vec![]));
        for bad in ["*", "ewr:4680", "http://ewr", "a..b", "ewr.", "b\u{fc}ro", "*.example.org"] {
            assert!(host_names(&Value::from(bad)).unwrap_err().contains("without scheme"), "{bad}");
        }
        assert!(host_names(&Value::from(vec![1, 2])).unwrap_err().contains("quotes"));
        assert!(host_names(&Value::from(7)).unwrap_err().contains("list of host names"));
    }

    #[test]
    fn names_of_hosts_become_names_of_brokers() {
        assert_eq!(name_of_host("web-7.example.org"), "web-7.example.org");
        assert_eq!(name_of_host("büro pc"), "b-ro-pc");
        assert_eq!(name_of_host(""), "fanal");
        assert_eq!(name_of_host(&"x".repeat(300)).len(), NAME_BYTES_MAX);
    }

    #[test]
    fn addresses_say_what_is_expected() {
        assert_eq!(address(&Value::from("localhost:4600")).map(|address| address.port()), Ok(4600));
        assert!(address(&Value::from("4600")).unwrap_err().contains("IP:PORT"));
        assert!(address(&Value::from(4600)).unwrap_err().contains("quotes"));
        for good in ["jfk:4600", "127.0.0.1:1", "[::1]:4600"] {
            assert!(host_and_port(&Value::from(good)).is_ok(), "{good}");
        }
        for bad in ["jfk", "jfk:", ":4600", "jfk:0", "jfk:70000", "::1"] {
            assert!(host_and_port(&Value::from(bad)).unwrap_err().contains("HOST:PORT"), "{bad}");
        }
    }
}
