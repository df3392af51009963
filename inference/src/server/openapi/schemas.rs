//! JSON Schemas of the wire types, gathered as components.

use std::collections::BTreeSet;

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

const COMPONENTS: &str = "#/components/schemas/";
/// What is put behind the name of a type that reads otherwise than it is written.
const INPUT: &str = "Input";

/// The schemas so far. What is read and what is written differ: a member with a default may be left out
/// of a request and is always in an answer.
pub(super) struct Schemas {
    read: SchemaGenerator,
    written: SchemaGenerator,
    /// Objects that several types read together.
    bodies: Map<String, Value>,
}

impl Schemas {
    pub(super) fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Self {
            read: settings().for_deserialize().into_generator(),
            written: settings().for_serialize().into_generator(),
            bodies: Map::new(),
        }
    }

    /// What `T` writes.
    pub(super) fn answer<T: JsonSchema>(&mut self) -> Value {
        self.written.subschema_for::<T>().to_value()
    }

    /// Begins a request's body, by its name.
    pub(super) fn body(&mut self, name: &'static str) -> Body<'_> {
        Body {
            schemas: self,
            name,
            properties: Map::new(),
            required: BTreeSet::new(),
        }
    }

    /// All of them, by name.
    pub(super) fn into_components(mut self) -> Map<String, Value> {
        let mut all = self.written.take_definitions(true);
        let read = self.read.take_definitions(true);
        let clashes: Vec<String> = read
            .iter()
            .filter(|(name, schema)| all.get(*name).is_some_and(|other| other != *schema))
            .map(|(name, _)| name.clone())
            .collect();
        for (name, mut schema) in read.into_iter().chain(self.bodies) {
            rename(&mut schema, &clashes);
            let name = if clashes.contains(&name) {
                name + INPUT
            } else {
                name
            };
            all.insert(name, schema);
        }
        all.sort_keys();
        all
    }
}

/// A request's body while it is put together.
pub(super) struct Body<'a> {
    schemas: &'a mut Schemas,
    name: &'static str,
    properties: Map<String, Value>,
    required: BTreeSet<String>,
}

impl Body<'_> {
    /// Adds the fields of `T`.
    pub(super) fn fields<T: JsonSchema>(self) -> Self {
        self.fields_among::<T>(|_| true)
    }

    /// Adds some fields of `T`.
    pub(super) fn fields_among<T: JsonSchema>(mut self, wanted: impl Fn(&str) -> bool) -> Self {
        let object = T::json_schema(&mut self.schemas.read).to_value();
        let properties = object.get("properties").and_then(Value::as_object);
        for (name, schema) in properties.into_iter().flatten() {
            if wanted(name) {
                self.properties
                    .entry(name.clone())
                    .or_insert_with(|| schema.clone());
            }
        }
        let required = object.get("required").and_then(Value::as_array);
        let required = required.into_iter().flatten().filter_map(Value::as_str);
        self.required
            .extend(required.filter(|name| wanted(name)).map(str::to_owned));
        self
    }

    /// A reference to it.
    pub(super) fn done(self) -> Value {
        let body = json!({
            "type": "object",
            "properties": self.properties,
            "required": self.required,
        });
        self.schemas.bodies.insert(self.name.to_owned(), body);
        json!({"$ref": format!("{COMPONENTS}{}", self.name)})
    }
}

/// Points references at the names that reading has.
fn rename(schema: &mut Value, clashes: &[String]) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::String(target)) = members.get_mut("$ref")
                && let Some(name) = target.strip_prefix(COMPONENTS)
                && clashes.iter().any(|clash| clash == name)
            {
                target.push_str(INPUT);
            }
            members
                .values_mut()
                .for_each(|member| rename(member, clashes));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, clashes)),
        _ => {}
    }
}
