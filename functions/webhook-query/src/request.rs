use guard::query::{limit, wrong};
use payment::PaymentId;
use problem::Problem;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;
use webhook::{Status, delivery_table::Filter};

/// Query of `GET /webhooks`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListRequest {
    /// Only in this status.
    status: Option<Status>,
    /// Only of this payment.
    payment_id: Option<String>,
    /// Most webhooks to show, 1–100; 20 when left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// The last webhook of the page before.
    after: Option<String>,
}

impl ListRequest {
    /// How many to show.
    ///
    /// # Errors
    /// `invalid-request` outside 1–100.
    pub(crate) fn limit(&self) -> Result<u32, Problem> {
        limit(self.limit.as_deref())
    }

    /// Which webhooks to show, of `merchant_id` alone when given.
    ///
    /// # Errors
    /// `invalid-request`, naming the parameter.
    pub(crate) fn filter(&self, merchant_id: Option<String>) -> Result<Filter, Problem> {
        let payment = self.payment_id.as_deref().map(str::parse::<PaymentId>);
        let payment = payment.transpose();
        let payment = payment.map_err(|_| wrong("paymentId", "a payment id"))?;
        let after = self.after.as_deref().map(str::parse::<Uuid>).transpose();
        Ok(Filter {
            merchant_id,
            status: self.status,
            subject: payment.map(|payment| payment.to_string()),
            after: after.map_err(|_| wrong("after", "a webhook id"))?,
        })
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
            "status=SENT",
            "paymentId=stl_1",
            "after=1",
            "merchantId=m-other",
            "limit=1&limit=2",
        ] {
            let list = parse::<ListRequest>(Some(query))
                .and_then(|list| list.limit().and_then(|_| list.filter(None)));
            assert_eq!(list.unwrap_err().code, Code::InvalidRequest, "{query}");
        }
    }
}
