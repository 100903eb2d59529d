//! Names, places and remarks as people write them, with all the characters that they use.

use super::json::Spelling;
use super::random::Random;

const FAMILIES: [&str; 18] = [
    "Smith",
    "Johnson",
    "Okafor",
    "Núñez",
    "Müller",
    "D'Angelo",
    "Ó Briain",
    "Żółkiewska",
    "Nguyễn",
    "Иванова",
    "李",
    "山田",
    "محمد",
    "Ørsted",
    "Lemke",
    "Kowalczyk",
    "Sjöström-O\"Neil",
    "Μακρής",
];
const GIVEN: [&str; 18] = [
    "Abram",
    "Zoë",
    "José",
    "Jose\u{301}",
    "Anaïs",
    "Björn",
    "Siobhán",
    "Wei",
    "花子",
    "Анна",
    "Fatima",
    "Olumide",
    "Renée",
    "Thomas",
    "María Fernanda",
    "Jürgen",
    "Łucja",
    "Noor",
];
const CITIES: [(&str, &str, &str); 6] = [
    ("Boston", "MA", "02108"),
    ("Holyoke", "MA", "01040"),
    ("San José", "CA", "95112"),
    ("Coeur d’Alene", "ID", "83814"),
    ("Doña Ana", "NM", "88032"),
    ("St. John's", "MI", "48879"),
];
const STREETS: [&str; 5] = ["Beech Street", "Main St. \"Old Mill\"", "Calle Peña", "O'Connell Road", "Østre Allé"];

/// Sentences that a careless reader of JSON gets wrong: quotes, backslashes, braces, fields inside strings, separators.
const REMARKS: [&str; 12] = [
    "Patient reports \"much better\" since last visit.",
    "Records moved to C:\\charts\\2019\\nephro; see folder \"new\".",
    "Lab message was {\"meta\":{\"versionId\":\"999\",\"lastUpdated\":\"1999-01-01T00:00:00Z\"}}.",
    "First line\u{2028}second line\u{2029}third line.",
    "Feels fine 😀, walks daily 🚶‍♀️, wears a 👩🏽‍⚕️ badge.",
    "Tab\there, break\nhere, return\r\nhere, and two\n\nmore.",
    "Temp. 38 °C → 37 °C; naïve façade; e\u{301} is not é for a byte comparison.",
    "Closing tag </div> & entity &amp; in plain text; path a/b//c.",
    "Ends in a backslash \\",
    "\"}],\"resourceType\":\"Patient\",\"id\":\"not-an-id\"",
    "右手に軽い痛み。 مريض بحالة جيدة. Всё в порядке.",
    "Line separators \u{85}, zero width \u{200b}, mark \u{feff}, private \u{e000}, beyond \u{1f9ec}\u{10ffff}.",
];

const SENTENCES: [&str; 8] = [
    "The patient was seen in the clinic today and is in no acute distress.",
    "Lungs are clear to auscultation, heart sounds are regular without murmur.",
    "Continue present medication and return in three months, or earlier if symptoms recur.",
    "Laboratory results were reviewed and discussed; see the attached report.",
    "Denies fever, chills, night sweats or loss of weight.",
    "Blood pressure is at target under the current regimen.",
    "Education about diet and exercise was given and understood.",
    "Immunizations were reviewed and are up to date.",
];

/// Who someone is.
pub struct Person {
    pub family: &'static str,
    pub given: [&'static str; 2],
    pub gender: &'static str,
    pub spelling: Spelling,
}

impl Person {
    pub fn any(random: &mut Random) -> Person {
        Person {
            family: random.word(&FAMILIES),
            given: [random.word(&GIVEN), random.word(&GIVEN)],
            gender: random.word(&["female", "male", "female", "male", "female", "male", "other", "unknown"]),
            spelling: spelling(random),
        }
    }

    pub fn full_name(&self) -> String {
        format!("{} {}", self.given[0], self.family)
    }
}

/// Most writers leave characters as they are, some escape them all.
pub fn spelling(random: &mut Random) -> Spelling {
    if random.per_cent(12) { Spelling::Escaped } else { Spelling::Plain }
}

pub struct Address {
    pub line: String,
    pub city: &'static str,
    pub state: &'static str,
    pub postal_code: &'static str,
}

pub fn address(random: &mut Random) -> Address {
    let &(city, state, postal_code) = random.pick(&CITIES);
    Address { line: format!("{} {}", random.between(1, 999), random.word(&STREETS)), city, state, postal_code }
}

pub fn remark(random: &mut Random) -> &'static str {
    random.word(&REMARKS)
}

/// Clinical prose of at least so many bytes; now and then a remark.
pub fn prose(bytes: usize, random: &mut Random) -> String {
    let mut text = String::with_capacity(bytes + 200);
    while text.len() < bytes {
        text.push_str(if random.per_cent(10) { remark(random) } else { random.word(&SENTENCES) });
        text.push(' ');
    }
    text
}
