//! The SQL of `docs/fencing.md`, with the tokens of real grants.

use distsync::{LockOptions, connect};
use rusqlite::{Connection, OptionalExtension, named_params};

/// Returns the SQL statements of the page.
fn statements() -> [&'static str; 3] {
    let page = include_str!("../../../docs/fencing.md");
    let blocks: Vec<_> = page
        .split("```sql\n")
        .skip(1)
        .map(|rest| rest.split("```").next().expect("an end"))
        .collect();
    blocks.try_into().expect("the page has three statements")
}

struct Table(Connection);

impl Table {
    fn enter(&self, token: u64) -> Option<String> {
        let token = i64::try_from(token).unwrap();
        self.0
            .query_row(
                statements()[1],
                // To SQLite, `$1` is a name.
                named_params! {"$1": token, "$2": "a"},
                |row| row.get(0),
            )
            .optional()
            .unwrap()
    }

    fn write(&self, token: u64, value: &str) -> bool {
        let token = i64::try_from(token).unwrap();
        self.0
            .execute(
                statements()[2],
                named_params! {"$1": token, "$2": "a", "$3": value},
            )
            .unwrap()
            == 1
    }
}

#[tokio::test]
async fn the_statements_lose_no_update() {
    distsync_example_sqlite::register().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("locks.db").display());
    let sync = connect(&url).await.unwrap();
    let lock = sync.lock("r", LockOptions::new()).unwrap();
    let first = lock.acquire().await.unwrap();
    lock.evict(first.claim()).await.unwrap();
    let second = lock.acquire().await.unwrap();
    let (a, b) = (first.token().get(), second.token().get());

    let table = Table(Connection::open_in_memory().unwrap());
    table.0.execute(statements()[0], []).unwrap();
    let row = "INSERT INTO r (id, value) VALUES ('a', '')";
    table.0.execute(row, []).unwrap();
    assert!(!table.write(a, "early"), "it has not entered");
    assert_eq!(table.enter(a).as_deref(), Some(""));
    assert!(table.write(a, "a") && table.write(a, "a2"));
    assert_eq!(table.enter(a).as_deref(), Some("a2"), "again");
    assert_eq!(table.enter(b).as_deref(), Some("a2"));
    assert!(!table.write(a, "lost"), "a former holder writes");
    assert_eq!(table.enter(a), None, "a former holder enters");
    assert!(!table.write(a, "lost"), "a former holder writes");
    assert!(table.write(b, "a2b"));
    assert_eq!(table.enter(b).as_deref(), Some("a2b"));
}
