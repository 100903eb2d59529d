//! A small vocabulary of clinical codes, enough for data that looks like a clinic's.

use super::fhir::{Code, cvx, hl7, loinc, rxnorm, snomed};

/// Something that is measured, the unit (UCUM) and the range of values that occur.
pub struct Measure {
    pub code: Code,
    pub unit: &'static str,
    pub low: usize,
    pub high: usize,
    /// Digits after the decimal point, trailing zeros included.
    pub places: u32,
}

const fn measure(code: Code, unit: &'static str, low: usize, high: usize, places: u32) -> Measure {
    Measure { code, unit, low, high, places }
}

pub const VITALS: [Measure; 7] = [
    measure(loinc("8302-2", "Body height"), "cm", 140, 200, 1),
    measure(loinc("29463-7", "Body weight"), "kg", 45, 120, 2),
    measure(loinc("39156-5", "Body mass index (BMI) [Ratio]"), "kg/m2", 17, 40, 4),
    measure(loinc("8867-4", "Heart rate"), "/min", 52, 110, 0),
    measure(loinc("9279-1", "Respiratory rate"), "/min", 12, 20, 0),
    measure(loinc("8310-5", "Body temperature"), "Cel", 36, 39, 1),
    measure(loinc("2708-6", "Oxygen saturation in Arterial blood"), "%", 92, 100, 1),
];

pub const LABS: [Measure; 12] = [
    measure(loinc("2339-0", "Glucose [Mass/volume] in Blood"), "mg/dL", 62, 180, 2),
    measure(loinc("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood"), "%", 4, 11, 1),
    measure(loinc("2093-3", "Cholesterol [Mass/volume] in Serum or Plasma"), "mg/dL", 120, 280, 2),
    measure(loinc("2571-8", "Triglyceride [Mass/volume] in Serum or Plasma"), "mg/dL", 60, 400, 2),
    measure(loinc("2085-9", "Cholesterol in HDL [Mass/volume] in Serum or Plasma"), "mg/dL", 25, 90, 2),
    measure(
        loinc("18262-6", "Cholesterol in LDL [Mass/volume] in Serum or Plasma by Direct assay"),
        "mg/dL",
        50,
        190,
        2,
    ),
    measure(loinc("2160-0", "Creatinine [Mass/volume] in Serum or Plasma"), "mg/dL", 0, 3, 15),
    measure(loinc("718-7", "Hemoglobin [Mass/volume] in Blood"), "g/dL", 9, 18, 1),
    measure(loinc("6690-2", "Leukocytes [#/volume] in Blood by Automated count"), "10*3/uL", 3, 12, 3),
    measure(loinc("777-3", "Platelets [#/volume] in Blood by Automated count"), "10*3/uL", 140, 450, 0),
    measure(loinc("2947-0", "Sodium [Moles/volume] in Blood"), "mmol/L", 132, 146, 15),
    measure(loinc("6298-4", "Potassium [Moles/volume] in Blood"), "mmol/L", 3, 6, 17),
];

pub const BLOOD_PRESSURE: Code = loinc("85354-9", "Blood pressure panel with all children optional");
pub const SYSTOLIC: Code = loinc("8480-6", "Systolic blood pressure");
pub const DIASTOLIC: Code = loinc("8462-4", "Diastolic blood pressure");
pub const SMOKING: Code = loinc("72166-2", "Tobacco smoking status");
pub const SMOKING_ANSWERS: [Code; 3] = [
    snomed("266919005", "Never smoked tobacco (finding)"),
    snomed("8517006", "Ex-smoker (finding)"),
    snomed("449868002", "Smokes tobacco daily (finding)"),
];

pub const PANELS: [Code; 3] = [
    loinc("24331-1", "Lipid 1996 panel - Serum or Plasma"),
    loinc("51990-0", "Basic metabolic panel - Blood"),
    loinc("58410-2", "CBC panel - Blood by Automated count"),
];

pub const CONDITIONS: [Code; 11] = [
    snomed("44054006", "Diabetes mellitus type 2 (disorder)"),
    snomed("59621000", "Essential hypertension (disorder)"),
    snomed("195662009", "Acute viral pharyngitis (disorder)"),
    snomed("10509002", "Acute bronchitis (disorder)"),
    snomed("40055000", "Chronic sinusitis (disorder)"),
    snomed("195967001", "Asthma (disorder)"),
    snomed("15777000", "Prediabetes (finding)"),
    snomed("55822004", "Hyperlipidemia (disorder)"),
    snomed("271737000", "Anemia (disorder)"),
    snomed("396275006", "Osteoarthritis (disorder)"),
    snomed("370143000", "Major depressive disorder (disorder)"),
];

pub const PROCEDURES: [Code; 6] = [
    snomed("430193006", "Medication reconciliation (procedure)"),
    snomed("73761001", "Colonoscopy (procedure)"),
    snomed("76601001", "Intramuscular injection (procedure)"),
    snomed("127783003", "Spirometry (procedure)"),
    snomed("171207006", "Depression screening (procedure)"),
    snomed("399208008", "Plain X-ray of chest (procedure)"),
];

pub const ENCOUNTERS: [Code; 5] = [
    snomed("185345009", "Encounter for symptom (procedure)"),
    snomed("162673000", "General examination of patient (procedure)"),
    snomed("185349003", "Encounter for check up (procedure)"),
    snomed("390906007", "Follow-up encounter (procedure)"),
    snomed("50849002", "Emergency room admission (procedure)"),
];

pub const MEDICATIONS: [Code; 9] = [
    rxnorm("313782", "acetaminophen 325 MG Oral Tablet"),
    rxnorm("860975", "24 HR metformin hydrochloride 500 MG Extended Release Oral Tablet"),
    rxnorm("314076", "lisinopril 10 MG Oral Tablet"),
    rxnorm("617311", "atorvastatin 40 MG Oral Tablet"),
    rxnorm("308136", "amlodipine 2.5 MG Oral Tablet"),
    rxnorm("310798", "hydrochlorothiazide 25 MG Oral Tablet"),
    rxnorm("745679", "200 ACTUAT albuterol 0.09 MG/ACTUAT Metered Dose Inhaler"),
    rxnorm("308192", "amoxicillin 500 MG Oral Tablet"),
    rxnorm("312961", "simvastatin 20 MG Oral Tablet"),
];

pub const VACCINES: [Code; 7] = [
    cvx("140", "Influenza, seasonal, injectable, preservative free"),
    cvx("113", "Td (adult), 5 Lf tetanus toxoid, preservative free, adsorbed"),
    cvx("115", "Tdap"),
    cvx("133", "Pneumococcal conjugate PCV 13"),
    cvx("207", "COVID-19, mRNA, LNP-S, PF, 100 mcg/0.5 mL dose"),
    cvx("03", "MMR"),
    cvx("121", "zoster live"),
];

pub const ALLERGIES: [Code; 5] = [
    snomed("419474003", "Allergy to mold (finding)"),
    snomed("91936005", "Allergy to penicillin (finding)"),
    snomed("91935009", "Allergy to peanut (finding)"),
    snomed("232347008", "Allergy to animal dander (finding)"),
    snomed("418689008", "Allergy to grass pollen (finding)"),
];

pub const DEVICES: [Code; 2] = [
    snomed("72506001", "Implantable defibrillator (physical object)"),
    snomed("14106009", "Cardiac pacemaker (physical object)"),
];

pub const NOTES: [Code; 4] = [
    loinc("34133-9", "Summary of episode note"),
    loinc("11488-4", "Consult note"),
    loinc("18842-5", "Discharge summary"),
    loinc("34117-2", "History and physical note"),
];

pub const PLANS: [Code; 3] = [
    snomed("698360004", "Diabetes self management plan (record artifact)"),
    snomed("736285004", "Hyperlipidemia clinical management plan (record artifact)"),
    snomed("443402002", "Lifestyle education regarding hypertension (procedure)"),
];

pub const ACTIVITIES: [Code; 4] = [
    snomed("160670007", "Diabetic diet (finding)"),
    snomed("229065009", "Exercise therapy (regime/therapy)"),
    snomed("183301007", "Physical exercises (regime/therapy)"),
    snomed("225323000", "Smoking cessation education (procedure)"),
];

pub const SPECIALTIES: [Code; 4] = [
    snomed("394814009", "General practice (specialty)"),
    snomed("394579002", "Cardiology (specialty)"),
    snomed("408443003", "General medical practice (specialty)"),
    snomed("394537008", "Pediatric specialty (specialty)"),
];

pub const CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/observation-category";
pub const CONDITION_CLINICAL: &str = "http://terminology.hl7.org/CodeSystem/condition-clinical";
pub const CONDITION_CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/condition-category";
pub const VERIFIED: Code = hl7("http://terminology.hl7.org/CodeSystem/condition-ver-status", "confirmed", "Confirmed");
pub const VITAL_SIGNS: Code = hl7(CATEGORY, "vital-signs", "Vital Signs");
pub const LABORATORY: Code = hl7(CATEGORY, "laboratory", "Laboratory");
pub const SOCIAL_HISTORY: Code = hl7(CATEGORY, "social-history", "Social History");
pub const PROVIDER: Code =
    hl7("http://terminology.hl7.org/CodeSystem/organization-type", "prov", "Healthcare Provider");
pub const AMBULATORY: Code = hl7("http://terminology.hl7.org/CodeSystem/v3-ActCode", "AMB", "ambulatory");
pub const PERFORMER: Code =
    hl7("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "PPRF", "primary performer");
pub const RECORD_NUMBER: Code = hl7("http://terminology.hl7.org/CodeSystem/v2-0203", "MR", "Medical record number");
pub const INTERPRETATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation";
