//! Finds what a request is for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method};
use matchit::Params;

use crate::function::Function;
use crate::manifest::Route;

/// Stands for every method.
const ANY: &str = "ANY";

/// What a route leads to.
#[derive(Clone)]
pub(crate) enum Target {
    /// A function.
    Function {
        /// It.
        function: Arc<Function>,
        /// The route as the manifest has it.
        route_key: Arc<str>,
        /// The names of its path parameters, in order.
        parameter_names: Arc<[String]>,
    },
    /// A file in memory.
    Static {
        /// Its bytes.
        content: Bytes,
        /// Their type.
        content_type: HeaderValue,
    },
}

/// The routes, by method, so that a path of another method hides nothing.
#[derive(Default)]
pub(crate) struct Router {
    by_method: HashMap<Method, Trees>,
    any: Trees,
}

/// The routes of one method. A greedy parameter only gets what no other route matches.
#[derive(Default, Clone)]
struct Trees {
    plain: matchit::Router<Target>,
    greedy: matchit::Router<Target>,
}

impl Trees {
    fn tree(&mut self, route: &Route) -> &mut matchit::Router<Target> {
        if route.is_greedy() {
            &mut self.greedy
        } else {
            &mut self.plain
        }
    }
}

impl Router {
    /// Builds the trees. A route for one method goes before one for `ANY` with the same path.
    ///
    /// # Errors
    /// If two paths cannot be told apart, or a method is no token.
    pub(crate) fn new(routes: Vec<(Route, Target)>) -> anyhow::Result<Self> {
        let (any, specific): (Vec<_>, Vec<_>) = routes
            .into_iter()
            .partition(|(route, _)| route.method == ANY);
        let mut built = Self::default();
        let mut taken = HashSet::new();
        for (route, target) in specific {
            let method = Method::from_bytes(route.method.as_bytes())?;
            taken.insert((method.clone(), route.shape()));
            let trees = built.by_method.entry(method).or_default();
            trees.tree(&route).insert(route.shape(), target)?;
        }
        for (route, target) in any {
            for (method, trees) in &mut built.by_method {
                if !taken.contains(&(method.clone(), route.shape())) {
                    trees.tree(&route).insert(route.shape(), target.clone())?;
                }
            }
            built.any.tree(&route).insert(route.shape(), target)?;
        }
        Ok(built)
    }

    /// The target of a request, with its path parameters, still percent-encoded.
    pub(crate) fn find<'r, 'p>(
        &'r self,
        method: &Method,
        path: &'p str,
    ) -> Option<(&'r Target, Params<'r, 'p>)> {
        let trees = self.by_method.get(method).unwrap_or(&self.any);
        let found = trees
            .plain
            .at(path)
            .or_else(|_| trees.greedy.at(path))
            .ok()?;
        Some((found.value, found.params))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    fn router(routes: &[&str]) -> Router {
        let text = format!("[functions.a]\ncommand=['a']\nroutes={routes:?}");
        let manifest = Manifest::parse(&text, &|_| None).expect("valid");
        let target = |route: &Route| Target::Static {
            content: Bytes::from(route.key.clone()),
            content_type: HeaderValue::from_static("text/plain"),
        };
        let routes = manifest.functions["a"].routes.iter();
        Router::new(routes.map(|route| (route.clone(), target(route))).collect()).expect("builds")
    }

    fn found(router: &Router, method: &Method, path: &str) -> Option<String> {
        let (target, _) = router.find(method, path)?;
        let Target::Static { content, .. } = target else {
            return None;
        };
        Some(String::from_utf8_lossy(content).into_owned())
    }

    #[test]
    fn most_specific_route_of_the_method_is_found() {
        let router = router(&[
            "POST /payments/capture/{id}",
            "GET /payments/{id}",
            "GET /payments",
            "ANY /payments/{rest+}",
            "POST /payments/{other}",
        ]);
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
            assert_eq!(
                found(&router, &method, path).as_deref(),
                expected,
                "{method} {path}"
            );
        }
    }

    #[test]
    fn same_path_may_name_its_parameters_differently_per_method() {
        let router = router(&["GET /a/{x}", "POST /a/{y}", "GET /a/{z}/b", "ANY /a/{w}"]);
        assert_eq!(
            found(&router, &Method::GET, "/a/1/b").as_deref(),
            Some("GET /a/{z}/b")
        );
        assert_eq!(
            found(&router, &Method::POST, "/a/1").as_deref(),
            Some("POST /a/{y}")
        );
        assert_eq!(
            found(&router, &Method::GET, "/a/1").as_deref(),
            Some("GET /a/{x}")
        );
        assert_eq!(
            found(&router, &Method::PATCH, "/a/1").as_deref(),
            Some("ANY /a/{w}")
        );
    }
}
