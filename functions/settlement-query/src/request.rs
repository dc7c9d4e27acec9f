use chrono::NaiveDate;
use guard::query::{limit, wrong};
use payment::PaymentId;
use problem::Problem;
use serde::Deserialize;
use settlement::{SettlementId, batch_table::Filter, item_table::Place};
use utoipa::IntoParams;
use uuid::Uuid;

/// Query of `GET /settlements`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListRequest {
    /// Only of this merchant; a merchant sees none but its own.
    merchant_id: Option<String>,
    /// Only of periods whose last day is this one (`YYYY-MM-DD`) or later.
    #[param(value_type = Option<String>, format = Date)]
    from: Option<String>,
    /// Only of periods whose last day is this one or earlier.
    #[param(value_type = Option<String>, format = Date)]
    to: Option<String>,
    /// Most settlements to show, 1–100; 20 when left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// The last settlement of the page before.
    after: Option<String>,
}

/// Query of `GET /settlements/{settlementId}/items`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ItemsRequest {
    /// Most items to show, 1–100; 20 when left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// The last item of the page before.
    after: Option<String>,
}

impl ListRequest {
    /// Which settlements to show, of `merchant_id` alone when given.
    ///
    /// # Errors
    /// `invalid-request`, naming the parameter.
    pub(crate) fn filter(&self, merchant_id: Option<String>) -> Result<Filter, Problem> {
        let day = |name, text: &Option<String>| {
            let day = text.as_deref().map(str::parse::<NaiveDate>).transpose();
            day.map_err(|_| wrong(name, "a day as YYYY-MM-DD"))
        };
        let after = self.after.as_deref().map(str::parse::<SettlementId>);
        let after = after.transpose();
        Ok(Filter {
            merchant_id: merchant_id.or_else(|| self.merchant_id.clone()),
            from: day("from", &self.from)?,
            to: day("to", &self.to)?,
            after: after.map_err(|_| wrong("after", "a settlement id"))?,
        })
    }

    /// How many to show.
    ///
    /// # Errors
    /// `invalid-request` outside 1–100.
    pub(crate) fn limit(&self) -> Result<u32, Problem> {
        limit(self.limit.as_deref())
    }
}

impl ItemsRequest {
    /// How many to show.
    ///
    /// # Errors
    /// `invalid-request` outside 1–100.
    pub(crate) fn limit(&self) -> Result<u32, Problem> {
        limit(self.limit.as_deref())
    }

    /// Where the page begins.
    ///
    /// # Errors
    /// `invalid-request`.
    pub(crate) fn after(&self) -> Result<Place, Problem> {
        let Some(after) = self.after.as_deref() else {
            return Ok((Uuid::nil(), 0, 0));
        };
        let place = || {
            let (payment, rest) = after.split_once('.')?;
            let (seq, revision) = rest.split_once('.')?;
            let payment: PaymentId = payment.parse().ok()?;
            Some((payment.uuid(), seq.parse().ok()?, revision.parse().ok()?))
        };
        place().ok_or_else(|| wrong("after", "an item id"))
    }
}

#[cfg(test)]
mod tests {
    use guard::query::parse;
    use problem::Code;

    use super::*;

    #[test]
    fn wrong_parameters_are_refused() {
        for query in [
            "limit=0",
            "limit=101",
            "from=yesterday",
            "to=2026-02-30",
            "after=1",
            "colour=red",
            "limit=1&limit=2",
        ] {
            let list = parse::<ListRequest>(Some(query))
                .and_then(|list| list.limit().and_then(|_| list.filter(None)));
            assert_eq!(list.unwrap_err().code, Code::InvalidRequest, "{query}");
        }
        for after in [
            "1",
            "pay_1.2.0",
            "pay_018f0000000070008000000000000001.2",
            "..",
            "",
        ] {
            let items = ItemsRequest {
                limit: None,
                after: Some(after.to_owned()),
            };
            assert!(items.after().is_err(), "{after}");
        }
    }

    #[test]
    fn merchant_cannot_ask_for_another_one() {
        let list: ListRequest = parse(Some("merchantId=m-other")).unwrap();
        let own = list.filter(Some("m-demo".to_owned())).unwrap();
        assert_eq!(own.merchant_id.as_deref(), Some("m-demo"));
        let all = list.filter(None).unwrap();
        assert_eq!(all.merchant_id.as_deref(), Some("m-other"));
    }
}
