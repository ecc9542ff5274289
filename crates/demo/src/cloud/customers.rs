//! The customer table: synthetic rows that look like personal data and belong to nobody. The same on every run.

/// Rows in the table.
pub(super) const ROWS: usize = 320;

const GIVEN: [&str; 16] = [
    "Amara", "Bruno", "Chiara", "Dmitri", "Elif", "Farid", "Greta", "Hana", "Ivo", "Jalal", "Kemi", "Lars",
    "Mei", "Noor", "Oskar", "Priya",
];
const FAMILY: [&str; 20] = [
    "Abadi", "Brandt", "Costa", "Dubois", "Eriksen", "Fischer", "García", "Haddad", "Ito", "Jansen",
    "Kowalski", "Lopes", "Moreau", "Novak", "Okafor", "Petrov", "Quinn", "Rossi", "Silva", "Tanaka",
];
const CITIES: [&str; 8] = ["Lisbon", "Hamburg", "Kraków", "Lyon", "Osaka", "Lagos", "Turin", "Malmö"];

/// The whole table as CSV with a header line.
pub(super) fn csv() -> String {
    let head = "id,name,email,phone,date_of_birth,city,balance_eur\n";
    std::iter::once(head.to_owned()).chain((0..ROWS).map(line)).collect()
}

fn line(row: usize) -> String {
    let given = pick(&GIVEN, row);
    let family = pick(&FAMILY, row / GIVEN.len() + row);
    let city = pick(&CITIES, row * 5 + 3);
    let address = format!("{}.{}{row}", given.to_lowercase(), plain(family));
    let (year, month, day) = (1950 + row * 7 % 55, 1 + row * 5 % 12, 1 + row * 11 % 28);
    let balance = row * 7919 % 250_000;
    format!(
        "{},{given} {family},{address}@example.com,+00 555 {:04},{year}-{month:02}-{day:02},{city},{}.{:02}\n",
        10_001 + row,
        row * 37 % 10_000,
        balance / 100,
        balance % 100,
    )
}

fn pick<'a>(from: &'a [&'a str], at: usize) -> &'a str {
    from.get(at % from.len()).copied().unwrap_or_default()
}

/// A name as it stands in an address.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_lowercase()
}
