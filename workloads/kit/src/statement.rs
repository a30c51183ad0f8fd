//! Statements that carry their route.
//!
//! A statement without the distribution column runs on every shard, and nobody notices until
//! there are many. So a service declares each one with where it goes; `sqlx::query` itself is a
//! disallowed method.

#![allow(clippy::disallowed_methods, reason = "this is the wrapper that everything else goes through")]

use std::marker::PhantomData;

use sqlx::{Postgres, postgres::PgArguments, query, query::Query};

/// Where a statement goes.
pub trait Route {}

/// To the coordinator's own tables.
#[derive(Clone, Copy, Debug)]
pub struct Local;

/// To every shard: only for operators, backfills and checks, never in a request.
#[derive(Clone, Copy, Debug)]
pub struct FanOut;

impl Route for Local {}
impl Route for FanOut {}

/// SQL and its route. It is sent as a named statement, the only kind that is safe behind a
/// pooler in transaction mode.
#[derive(Clone, Copy, Debug)]
pub struct Statement<R: Route> {
    sql: &'static str,
    route: PhantomData<R>,
}

impl Statement<Local> {
    /// A statement on the coordinator's own tables.
    pub const fn local(sql: &'static str) -> Self {
        Self { sql, route: PhantomData }
    }
}

impl Statement<FanOut> {
    /// A statement on every shard, with the reason why it may.
    pub const fn fan_out(sql: &'static str, _reason: &'static str) -> Self {
        Self { sql, route: PhantomData }
    }
}

impl<R: Route> Statement<R> {
    /// Its SQL.
    pub const fn sql(&self) -> &'static str {
        self.sql
    }

    /// The query, to bind values to and run.
    pub fn query(&self) -> Query<'static, Postgres, PgArguments> {
        query(self.sql)
    }
}
