use std::{fs, path::Path};

use sqlx::MySqlPool;
use tempfile::TempDir;
use tokio::process::Command;
use toml::Table;

use crate::{Runtime, Testbed, Urls, fresh, variable};

/// Some functions beside the stack's, on a database of their own: tests make up there what nobody
/// paid for, and the books of the stack stay true.
#[derive(Debug)]
pub struct Apart {
    /// These functions, their database and whoever calls them.
    pub bed: Testbed,
    _runtime: Runtime,
    _secrets: TempDir,
}

impl Apart {
    /// Starts functions of the manifest on an empty database of `service`. No topic and no schedule
    /// reaches them, but requests do. What they invoke are the stack's functions.
    pub async fn start(service: &str, functions: &[&str]) -> Self {
        Self::start_changed(service, functions, |_| {}).await
    }

    /// The same, once `change` had its way with their tables, too.
    pub async fn start_changed(
        service: &str,
        functions: &[&str],
        change: impl FnOnce(&mut Table),
    ) -> Self {
        let bed = Testbed::new().await;
        let database = make_database(&bed, service).await;
        let secrets = TempDir::new().expect("a directory");
        let admin = url_of(&variable("DATABASE_URL_ADMIN"), &database);
        migrate(service, &admin, secrets.path()).await;
        let own = format!("DATABASE_URL_{}", service.to_uppercase());
        let url = secrets.path().join("function");
        fs::write(&url, url_of(&variable(&own), &database)).expect("a file is written");
        let runtime = Runtime::start(|all| {
            all.retain(|name, _| functions.contains(&name));
            for (_, function) in all.iter_mut() {
                let function = function.as_table_mut().expect("a table");
                function.remove("kafka");
                function.remove("schedule");
                function["secrets"][format!("{own}_FILE")] = url.display().to_string().into();
            }
            change(all);
        });
        let database = MySqlPool::connect_lazy(&admin).expect("a MySQL URL");
        let urls = Urls {
            http: runtime.url("http").await,
            invoke: runtime.url("invoke").await,
            admin: runtime.url("admin").await,
        };
        Self {
            bed: Testbed {
                database,
                urls,
                ..bed
            },
            _runtime: runtime,
            _secrets: secrets,
        }
    }
}

/// Makes an empty database for `service`; its name.
async fn make_database(bed: &Testbed, service: &str) -> String {
    let database = fresh(service).replace('-', "_");
    let create = format!("CREATE DATABASE {database}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(create))
        .execute(bed.database())
        .await
        .expect("a database is made");
    database
}

/// The same URL with another database.
fn url_of(url: &str, database: &str) -> String {
    let (server, _) = url.rsplit_once('/').expect("the URL names a database");
    format!("{server}/{database}")
}

async fn migrate(service: &str, url: &str, secrets: &Path) {
    let file = secrets.join("migrate");
    fs::write(&file, url).expect("a file is written");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let variable = format!("DATABASE_URL_{}_MIGRATE_FILE", service.to_uppercase());
    let output = Command::new(workspace.join("target/release/migrate"))
        .arg("--once")
        .env(variable, file)
        .output()
        .await
        .expect("migrate runs");
    let log = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{log}");
}
