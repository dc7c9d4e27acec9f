//! What comes of a decision. Everything happens in the transaction of the caller, which holds the item.

use db::Failure;
use recon::{
    Action, Case, CaseId, Cause, HOUSE, ItemId, MatchResult, Stake, Standing, State, StatementFile,
    TransactionKey,
    case::{CASES_MAX, in_effect},
    case_table, file_table,
    item_table::{self, Item},
    match_table::{self, Lines},
    tell,
};
use sqlx::MySqlConnection;

use crate::{error::ResolveError, request::Asked};

type Decided<T> = Result<T, ResolveError>;

/// An item that is held, with its file and what was decided before.
struct Held {
    id: ItemId,
    item: Item,
    file: StatementFile,
    cases: Vec<Case>,
}

/// What becomes of an item.
enum Effect<'a> {
    /// Nothing that others are told.
    Quiet,
    /// The new decision waits for a second operator.
    Waits,
    /// The new decision takes effect.
    New,
    /// This decision of before takes effect now.
    Approved(&'a Case),
    /// This decision of before is rejected.
    Rejected(&'a Case),
    /// This decision of before is taken back.
    Undone(&'a Case),
}

/// Decides about an item, once the transaction has it.
pub(crate) async fn decide(
    tx: &mut MySqlConnection,
    id: ItemId,
    asked: Asked,
    cause: &Cause,
) -> Decided<Case> {
    let held = Held::of(tx, id).await?;
    let effect = match asked {
        Asked::Reprocess => held.reprocess(tx).await?,
        Asked::Link(key) => held.link(tx, key).await?,
        Asked::Accept => held.bear(tx, Action::Accept).await?,
        Asked::WriteOff => held.bear(tx, Action::WriteOff).await?,
        Asked::Reopen => held.reopen(tx).await?,
        Asked::Approve | Asked::Reject => held.second(tx, asked.action(), cause).await?,
    };
    let decision = held.decision(tx, asked.action(), &effect, cause).await?;
    case_table::insert(tx, &decision).await?;
    let file_id = held.file.id;
    for link in held.forgotten(asked) {
        tell(tx, link, file_id, false, cause).await?;
    }
    match effect {
        Effect::New => tell(tx, &decision, file_id, true, cause).await?,
        Effect::Approved(first) => tell(tx, first, file_id, true, cause).await?,
        Effect::Undone(first) => tell(tx, first, file_id, false, cause).await?,
        Effect::Quiet | Effect::Waits | Effect::Rejected(_) => {}
    }
    Ok(decision)
}

impl Held {
    async fn of(tx: &mut MySqlConnection, id: ItemId) -> Decided<Self> {
        if !case_table::lock(tx, id).await? {
            return Err(ResolveError::NoItem);
        }
        let item = item_table::find(tx, id).await?;
        let item = item.ok_or(ResolveError::NoItem)?;
        let file = file_table::find(tx, item.file_id.into()).await?;
        let file = file.ok_or(sqlx::Error::RowNotFound)?;
        let cases = case_table::of_item(tx, id).await?;
        if cases.len() >= CASES_MAX {
            return Err(ResolveError::NotOpen("Too much was decided about it."));
        }
        Ok(Self {
            id,
            item,
            file,
            cases,
        })
    }

    /// Whether a match has found which transaction the row is, or which row the transaction, and not yet
    /// said what came of it.
    async fn is_being_matched(&self, tx: &mut MySqlConnection) -> sqlx::Result<bool> {
        if let ItemId::Transaction(key) = self.id {
            return case_table::is_row(tx, key).await;
        }
        let unpaired = matches!(
            self.item.result(),
            Some(
                MatchResult::MissingInternal
                    | MatchResult::DuplicateExternal
                    | MatchResult::Ambiguous
            )
        );
        Ok(unpaired && self.item.payment_id.is_some())
    }

    /// Holds the item against what an open one is.
    async fn open(&self, tx: &mut MySqlConnection) -> Decided<MatchResult> {
        let why = match (self.item.result(), self.item.standing()) {
            (None, _) => "It is not matched yet.",
            (_, Some(Standing::Pending)) => "It waits for a second operator.",
            (Some(MatchResult::Superseded), _) => "A later file speaks for the same days.",
            (Some(_), None | Some(Standing::Closed)) => "It is closed.",
            (Some(_), Some(Standing::Open)) if self.is_being_matched(tx).await? => {
                "It is being matched."
            }
            (Some(result), Some(Standing::Open)) => return Ok(result),
        };
        Err(ResolveError::NotOpen(why))
    }

    /// The links that a row has no longer when it is matched again or linked.
    fn forgotten(&self, asked: Asked) -> Vec<&Case> {
        match asked {
            Asked::Reprocess | Asked::Link(_) => in_effect(&self.cases),
            _ => Vec::new(),
        }
    }

    async fn reprocess(&self, tx: &mut MySqlConnection) -> Decided<Effect<'_>> {
        let result = self.open(tx).await?;
        if let ItemId::Row { file_no, line } = self.id {
            let result = Some(result).filter(|it| *it == MatchResult::RowInvalid);
            case_table::pair(tx, (file_no, line), None, result).await?;
        }
        file_table::ask(tx, self.file.no).await?;
        Ok(Effect::Quiet)
    }

    async fn link(&self, tx: &mut MySqlConnection, key: TransactionKey) -> Decided<Effect<'_>> {
        self.open(tx).await?;
        let refused = |why| ResolveError::NotLinkable(key, why);
        let ItemId::Row { file_no, line } = self.id else {
            return Err(refused("cannot be linked: the item is no row of a file."));
        };
        if self.item.fault.is_some() {
            return Err(refused("cannot be linked: the row cannot be read."));
        }
        let free = case_table::lock_transaction(tx, key, (file_no, line)).await?;
        let free = free.ok_or_else(|| refused("does not exist."))?;
        if free.paired {
            return Err(refused("is another row."));
        }
        if free.decided {
            return Err(refused("is decided about as missing; reopen that first."));
        }
        let paired = case_table::pair(tx, (file_no, line), Some(key), None).await;
        paired.map_err(|error| match Failure::of(&error) {
            Failure::Duplicate => refused("is another row."),
            _ => error.into(),
        })?;
        let lines = Lines {
            from: line,
            to: line,
        };
        match_table::judge(tx, &self.file, lines).await?;
        case_table::found(tx, key).await?;
        if self.item.payment_id.is_some() {
            file_table::ask(tx, file_no).await?;
        }
        Ok(Effect::New)
    }

    /// Has somebody bear the difference: at once, or when a second operator approves it.
    async fn bear(&self, tx: &mut MySqlConnection, action: Action) -> Decided<Effect<'_>> {
        self.open(tx).await?;
        let stake = Stake::of(&self.item);
        if action == Action::WriteOff && stake.is_none() {
            return Err(ResolveError::Nothing);
        }
        let worth = stake.map_or(0, |stake| stake.minor().unsigned_abs());
        let (standing, effect) = if worth > self.file.profile.alone_max {
            (Standing::Pending, Effect::Waits)
        } else {
            (Standing::Closed, Effect::New)
        };
        case_table::set_standing(tx, self.id, Some(standing)).await?;
        Ok(effect)
    }

    async fn reopen(&self, tx: &mut MySqlConnection) -> Decided<Effect<'_>> {
        let not_open = |why| Err(ResolveError::NotOpen(why));
        if self.item.standing() == Some(Standing::Pending) {
            return not_open("It waits for a second operator.");
        }
        if self.item.result() == Some(MatchResult::Superseded) {
            return not_open("A later file speaks for the same days.");
        }
        let holding = in_effect(&self.cases);
        let Some(last) = holding.last().copied() else {
            return not_open("No decision about it is in effect.");
        };
        case_table::set_standing(tx, self.id, None).await?;
        if let (Action::Link, ItemId::Row { file_no, line }) = (last.action, self.id) {
            let unpaired = last.before.transaction_key.is_none();
            let result = last.before.result.filter(|_| unpaired);
            case_table::pair(tx, (file_no, line), None, result).await?;
            file_table::ask(tx, file_no).await?;
        }
        Ok(Effect::Undone(last))
    }

    /// Decides about what another operator decided.
    async fn second(
        &self,
        tx: &mut MySqlConnection,
        action: Action,
        cause: &Cause,
    ) -> Decided<Effect<'_>> {
        let pending = self.item.standing() == Some(Standing::Pending);
        let Some(first) = self.cases.last().filter(|it| pending && it.waits) else {
            let why = "No decision about it waits for a second operator.";
            return Err(ResolveError::NotOpen(why));
        };
        if first.by.holder == cause.by.holder {
            return Err(ResolveError::SameOperator);
        }
        let (standing, effect) = if action == Action::Approve {
            (Some(Standing::Closed), Effect::Approved(first))
        } else {
            (None, Effect::Rejected(first))
        };
        case_table::set_standing(tx, self.id, standing).await?;
        Ok(effect)
    }

    /// The decision, now that the item has what comes of it.
    async fn decision(
        &self,
        tx: &mut MySqlConnection,
        action: Action,
        effect: &Effect<'_>,
        cause: &Cause,
    ) -> Decided<Case> {
        let after = item_table::find(tx, self.id).await?;
        let after = after.ok_or(sqlx::Error::RowNotFound)?;
        let concerned = match effect {
            Effect::Approved(first) | Effect::Rejected(first) | Effect::Undone(first) => {
                Some(*first)
            }
            Effect::Quiet | Effect::Waits | Effect::New => None,
        };
        let bears = matches!(action, Action::Accept | Action::WriteOff);
        let stake = Stake::of(&self.item).filter(|_| bears);
        let account_of = self.account_of(tx).await?;
        Ok(Case {
            id: CaseId::generate(),
            item_id: self.id,
            file_no: self.file.no,
            action,
            reason: cause.reason.clone(),
            stake: concerned.map_or(stake, |first| first.stake),
            account_of: concerned.map_or(account_of, |first| first.account_of.clone()),
            waits: matches!(effect, Effect::Waits),
            concerns: concerned.map(|first| first.id),
            by: cause.by.clone(),
            before: State::of(&self.item),
            after: State::of(&after),
            decided_at: cause.now,
        })
    }

    /// Whose money the difference is: the merchant's of the transaction, or of the payment that a row
    /// names which is there twice.
    async fn account_of(&self, tx: &mut MySqlConnection) -> Decided<String> {
        let twice = self.item.result() == Some(MatchResult::DuplicateExternal);
        let named = self.item.named_payment.or(self.item.key_payment);
        let mut merchant_id = self.item.merchant_id.clone();
        if let (true, Some(payment_id)) = (twice, named) {
            merchant_id = case_table::merchant_of(tx, payment_id).await?;
        }
        Ok(merchant_id.unwrap_or_else(|| HOUSE.to_owned()))
    }
}
