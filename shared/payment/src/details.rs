use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Refused;

const DESCRIPTION_CHARS_MAX: usize = 255;
const NAME_CHARS_MAX: usize = 100;
const EMAIL_CHARS_MAX: usize = 254;
const PHONE_CHARS_MAX: usize = 32;
const METADATA_MEMBERS_MAX: usize = 20;
const METADATA_NAME_CHARS_MAX: usize = 40;
const METADATA_VALUE_CHARS_MAX: usize = 500;

/// Who pays. Personal data: kept with the payment, shown to its merchant, told to nobody else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Customer {
    /// At most 100 characters.
    #[schema(max_length = 100)]
    pub name: String,
    /// At most 254 characters, with an `@`.
    #[schema(max_length = 254)]
    pub email: String,
    /// At most 32 characters.
    #[schema(max_length = 32)]
    pub phone: String,
}

impl fmt::Debug for Customer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Customer(hidden)")
    }
}

/// What a merchant says about a payment and gets back with it; nothing here moves money.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Free text for the merchant.
    pub description: Option<String>,
    /// Who pays.
    pub customer: Option<Customer>,
    /// The merchant's own names and values.
    pub metadata: Option<BTreeMap<String, String>>,
}

impl Details {
    /// Checks every limit; an error names the JSON pointer of the member and what it must be.
    ///
    /// # Errors
    /// Each member outside its limits.
    pub fn check(&self) -> Result<(), Vec<(String, Refused)>> {
        let mut errors = Vec::new();
        let mut limit = |pointer: String, text: &str, chars_max: usize, rule: &'static str| {
            if text.chars().count() > chars_max || text.chars().any(char::is_control) {
                errors.push((pointer, Refused(rule)));
            }
        };
        if let Some(description) = &self.description {
            let rule = "at most 255 characters, none a control character";
            limit(
                "/description".into(),
                description,
                DESCRIPTION_CHARS_MAX,
                rule,
            );
        }
        if let Some(customer) = &self.customer {
            let rule = "at most 100 characters";
            limit(
                "/customer/name".into(),
                &customer.name,
                NAME_CHARS_MAX,
                rule,
            );
            limit(
                "/customer/email".into(),
                &customer.email,
                EMAIL_CHARS_MAX,
                "an e-mail address",
            );
            let rule = "at most 32 characters";
            limit(
                "/customer/phone".into(),
                &customer.phone,
                PHONE_CHARS_MAX,
                rule,
            );
            if !customer.email.contains('@') {
                errors.push(("/customer/email".into(), Refused("an e-mail address")));
            }
        }
        if let Some(metadata) = &self.metadata {
            check_metadata(metadata, &mut errors);
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }
}

fn check_metadata(metadata: &BTreeMap<String, String>, errors: &mut Vec<(String, Refused)>) {
    if metadata.len() > METADATA_MEMBERS_MAX {
        errors.push(("/metadata".into(), Refused("at most 20 members")));
    }
    for (name, value) in metadata {
        let fits = name.chars().count() <= METADATA_NAME_CHARS_MAX
            && value.chars().count() <= METADATA_VALUE_CHARS_MAX
            && !name.chars().chain(value.chars()).any(char::is_control);
        if !fits {
            let rule = "names of at most 40 and values of at most 500 characters, none a control character";
            errors.push(("/metadata".into(), Refused(rule)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn customer(email: &str) -> Details {
        let customer = Customer {
            name: "Kim".into(),
            email: email.into(),
            phone: "010-1234-5678".into(),
        };
        Details {
            customer: Some(customer),
            ..Details::default()
        }
    }

    #[test]
    fn what_fits_passes() {
        assert_eq!(customer("kim@example.com").check(), Ok(()));
        assert_eq!(Details::default().check(), Ok(()));
    }

    #[test]
    fn every_member_outside_its_limits_is_named() {
        let mut details = customer("kim");
        details.description = Some("d".repeat(256));
        details.metadata = Some((0..21).map(|n| (n.to_string(), String::new())).collect());
        let errors = details.check().unwrap_err();
        let pointers: Vec<_> = errors.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(pointers, ["/description", "/customer/email", "/metadata"]);
    }

    #[test]
    fn debug_output_hides_the_customer() {
        assert!(!format!("{:?}", customer("kim@example.com")).contains("kim"));
    }
}
