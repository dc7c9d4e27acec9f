/// Stores an enum by the names of its variants in a column of type ENUM. With a binary collation
/// sqlx's own derive does not read one.
macro_rules! stored_as_text {
    ($type:ident { $($variant:ident = $name:literal),* $(,)? }) => {
        impl $type {
            const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }

        impl sqlx::Type<sqlx::MySql> for $type {
            fn type_info() -> sqlx::mysql::MySqlTypeInfo {
                <str as sqlx::Type<sqlx::MySql>>::type_info()
            }

            fn compatible(other: &sqlx::mysql::MySqlTypeInfo) -> bool {
                <str as sqlx::Type<sqlx::MySql>>::compatible(other)
            }
        }

        impl sqlx::Encode<'_, sqlx::MySql> for $type {
            fn encode_by_ref(
                &self,
                buffer: &mut Vec<u8>,
            ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
                sqlx::Encode::<sqlx::MySql>::encode_by_ref(&self.name(), buffer)
            }
        }

        impl<'r> sqlx::Decode<'r, sqlx::MySql> for $type {
            fn decode(
                value: sqlx::mysql::MySqlValueRef<'r>,
            ) -> Result<Self, sqlx::error::BoxDynError> {
                match <&str as sqlx::Decode<sqlx::MySql>>::decode(value)? {
                    $($name => Ok(Self::$variant),)*
                    other => Err(format!("no {}: {other:?}", stringify!($type)).into()),
                }
            }
        }
    };
}

pub(crate) use stored_as_text;
