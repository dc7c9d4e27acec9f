use chrono::{DateTime, Days, FixedOffset, NaiveDate, NaiveTime, Utc};
use guard::query::{limit, parse, wrong};
use payment::{MerchantId, PaymentId, Status, table::Filter};
use problem::Problem;
use serde::Deserialize;
use utoipa::IntoParams;

/// Korea keeps one offset all year.
const SEOUL_OFFSET_S: i32 = 9 * 3600;

/// Query of `GET /payments`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListRequest {
    /// Only payments in this status.
    #[param(value_type = Option<Status>)]
    status: Option<String>,
    /// Authorized at or after: an RFC 3339 time, or a day in Asia/Seoul (`YYYY-MM-DD`).
    from: Option<String>,
    /// Authorized before: an RFC 3339 time, or to the end of a day in Asia/Seoul.
    to: Option<String>,
    /// Only the payment of this order.
    order_id: Option<String>,
    /// Most payments to show, 1–100; 20 when left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// The last payment of the page before.
    after: Option<String>,
}

impl ListRequest {
    /// Reads a raw query.
    ///
    /// # Errors
    /// `invalid-request` for an unknown or repeated parameter, or one of the wrong type.
    pub fn parse(query: &str) -> Result<Self, Problem> {
        parse(Some(query))
    }

    /// How many payments to show.
    ///
    /// # Errors
    /// `invalid-request` outside 1–100.
    pub fn limit(&self) -> Result<u32, Problem> {
        limit(self.limit.as_deref())
    }

    /// Which payments to show, of `merchant_id` alone when given.
    ///
    /// # Errors
    /// `invalid-request`, naming the parameter.
    pub fn filter(&self, merchant_id: Option<MerchantId>) -> Result<Filter, Problem> {
        let status = self.status.as_deref().map(str::parse).transpose();
        let after = self
            .after
            .as_deref()
            .map(str::parse::<PaymentId>)
            .transpose();
        let days = |days| move |moment: &str| parse_moment(moment, days);
        let from = self.from.as_deref().map(days(0)).transpose();
        let before = self.to.as_deref().map(days(1)).transpose();
        let moment = "an RFC 3339 time, or a day as YYYY-MM-DD";
        Ok(Filter {
            merchant_id,
            status: status.map_err(|_| wrong("status", "a payment status"))?,
            order_id: self.order_id.clone(),
            from: from.map_err(|()| wrong("from", moment))?,
            before: before.map_err(|()| wrong("to", moment))?,
            after: after.map_err(|_| wrong("after", "a payment id"))?,
        })
    }
}

/// An RFC 3339 time as it is, or the midnight in Asia/Seoul `days` after the start of a day.
fn parse_moment(text: &str, days: u64) -> Result<DateTime<Utc>, ()> {
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Ok(moment.to_utc());
    }
    let day: NaiveDate = text.parse().map_err(drop)?;
    let midnight = day
        .checked_add_days(Days::new(days))
        .ok_or(())?
        .and_time(NaiveTime::MIN);
    let seoul = FixedOffset::east_opt(SEOUL_OFFSET_S).ok_or(())?;
    Ok(midnight
        .and_local_timezone(seoul)
        .single()
        .ok_or(())?
        .to_utc())
}

#[cfg(test)]
mod tests {
    use problem::Code;

    use super::*;

    #[test]
    fn days_are_those_of_seoul_and_to_is_inclusive() {
        let list = ListRequest::parse("from=2026-11-23&to=2026-11-23").unwrap();
        let filter = list.filter(None).unwrap();
        assert_eq!(filter.from, Some("2026-11-22T15:00:00Z".parse().unwrap()));
        assert_eq!(filter.before, Some("2026-11-23T15:00:00Z".parse().unwrap()));
    }

    #[test]
    fn wrong_parameters_are_refused() {
        for query in [
            "limit=0",
            "limit=",
            "limit=101",
            "limit=ten",
            "status=PAID",
            "from=yesterday",
            "to=2026-02-30",
            "after=1",
            "colour=red",
            "limit=1&limit=2",
        ] {
            let parsed = ListRequest::parse(query)
                .and_then(|list| list.limit().and_then(|_| list.filter(None)));
            assert_eq!(parsed.unwrap_err().code, Code::InvalidRequest, "{query}");
        }
    }
}
