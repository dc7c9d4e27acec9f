//! The routes, ready to be searched.

use std::collections::HashMap;

use http::Method;
use http::method::InvalidMethod;
use matchit::{InsertError, Params};

use super::Route;

/// Stands for every method.
const ANY: &str = "ANY";

/// The routes by method, so that a path of another method hides nothing.
pub(crate) struct RouteTable<T> {
    by_method: HashMap<Method, Trees<T>>,
    any: Trees<T>,
}

/// The routes of one method. A greedy parameter only gets what no other route matches.
#[derive(Clone)]
struct Trees<T> {
    plain: matchit::Router<T>,
    greedy: matchit::Router<T>,
    /// Shape → position of the route that has it.
    positions: HashMap<String, usize>,
}

/// Two routes that cannot be told apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Clash {
    /// Position of the route left out.
    pub(crate) route: usize,
    /// Position of the other, if that is known.
    pub(crate) with: Option<usize>,
}

impl<T: Clone> RouteTable<T> {
    /// Builds the table, leaving out routes that clash with others. A route for one method goes
    /// before one for `ANY` with the same path.
    ///
    /// # Errors
    /// If a method is no token.
    pub(crate) fn build(
        routes: impl Iterator<Item = (Route, T)>,
    ) -> Result<(Self, Vec<Clash>), InvalidMethod> {
        let numbered = routes.enumerate();
        let (any, specific): (Vec<_>, Vec<_>) =
            numbered.partition(|(_, (route, _))| route.method == ANY);
        let mut table = Self {
            by_method: HashMap::new(),
            any: Trees::default(),
        };
        let mut clashes = Vec::new();
        for (position, (route, value)) in specific {
            let method = Method::from_bytes(route.method.as_bytes())?;
            let trees = table.by_method.entry(method).or_default();
            clashes.extend(trees.insert(position, &route, value).err());
        }
        for (position, (route, value)) in any {
            let shape = route.shape();
            let specific = table.by_method.values_mut();
            let all = specific
                .filter(|trees| !trees.has(&shape))
                .chain([&mut table.any]);
            let results = all.map(|trees| trees.insert(position, &route, value.clone()));
            clashes.extend(
                results
                    .filter_map(Result::err)
                    .min_by_key(|clash| clash.with),
            );
        }
        Ok((table, clashes))
    }

    /// What is behind a path, with its parameters, still percent-encoded.
    pub(crate) fn find<'r, 'p>(
        &'r self,
        method: &Method,
        path: &'p str,
    ) -> Option<(&'r T, Params<'r, 'p>)> {
        let trees = self.by_method.get(method).unwrap_or(&self.any);
        let found = trees
            .plain
            .at(path)
            .or_else(|_| trees.greedy.at(path))
            .ok()?;
        Some((found.value, found.params))
    }
}

impl<T> Default for Trees<T> {
    fn default() -> Self {
        Self {
            plain: matchit::Router::new(),
            greedy: matchit::Router::new(),
            positions: HashMap::new(),
        }
    }
}

impl<T> Trees<T> {
    fn insert(&mut self, position: usize, route: &Route, value: T) -> Result<(), Clash> {
        let shape = route.shape();
        let tree = if route.is_greedy() {
            &mut self.greedy
        } else {
            &mut self.plain
        };
        match tree.insert(shape.clone(), value) {
            Ok(()) => {
                self.positions.insert(shape, position);
                Ok(())
            }
            Err(InsertError::Conflict { with }) => Err(Clash {
                route: position,
                with: self.positions.get(&with).copied(),
            }),
            Err(_) => Err(Clash {
                route: position,
                with: None,
            }),
        }
    }

    fn has(&self, shape: &str) -> bool {
        self.positions.contains_key(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    fn table(routes: &[&str]) -> (RouteTable<String>, Vec<Clash>) {
        let route = |text: &&str| {
            let text = format!("[functions.a]\ncommand=['a']\nroutes=[{text:?}]");
            let manifest = Manifest::parse(&text, &|_| None).expect("valid");
            let route = manifest.functions["a"].routes[0].clone();
            (route.clone(), route.key)
        };
        RouteTable::build(routes.iter().map(route)).expect("methods are tokens")
    }

    #[track_caller]
    fn assert_found(table: &RouteTable<String>, method: &Method, path: &str, key: Option<&str>) {
        let found = table.find(method, path).map(|(key, _)| key.as_str());
        assert_eq!(found, key, "{method} {path}");
    }

    #[test]
    fn most_specific_route_of_the_method_is_found() {
        let (table, clashes) = table(&[
            "POST /payments/capture/{id}",
            "GET /payments/{id}",
            "GET /payments",
            "ANY /payments/{rest+}",
            "POST /payments/{other}",
        ]);
        assert_eq!(clashes, []);
        for (method, path, expected) in [
            (Method::GET, "/payments", Some("GET /payments")),
            (Method::GET, "/payments/p%2F1", Some("GET /payments/{id}")),
            (
                Method::GET,
                "/payments/capture/p1",
                Some("ANY /payments/{rest+}"),
            ),
            (
                Method::POST,
                "/payments/capture/p1",
                Some("POST /payments/capture/{id}"),
            ),
            (Method::POST, "/payments/x", Some("POST /payments/{other}")),
            (Method::PUT, "/payments/x", Some("ANY /payments/{rest+}")),
            (Method::PUT, "/payments", None),
            (Method::GET, "/payments/", None),
        ] {
            assert_found(&table, &method, path, expected);
        }
    }

    #[test]
    fn same_path_may_name_its_parameters_differently_per_method() {
        let (table, clashes) = table(&["GET /a/{x}", "POST /a/{y}", "GET /a/{z}/b", "ANY /a/{w}"]);
        assert_eq!(clashes, []);
        assert_found(&table, &Method::GET, "/a/1/b", Some("GET /a/{z}/b"));
        assert_found(&table, &Method::POST, "/a/1", Some("POST /a/{y}"));
        assert_found(&table, &Method::GET, "/a/1", Some("GET /a/{x}"));
        assert_found(&table, &Method::PATCH, "/a/1", Some("ANY /a/{w}"));
    }

    #[test]
    fn any_clashes_with_the_routes_of_every_method() {
        let (_, clashes) = table(&["GET /{a}/{rest+}", "ANY /{all+}"]);
        let clash = Clash {
            route: 1,
            with: Some(0),
        };
        assert_eq!(clashes, [clash]);
    }
}
