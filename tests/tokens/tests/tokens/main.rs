//! The PKCS #11 engine over each token that there is for tests.

mod engines;
mod epochs;
mod every;
mod kryoptic;
mod softhsm;

/// Each test once for each token.
macro_rules! on_every_token {
    ($($module:ident: $($name:ident),+;)+) => {
        on_every_token!(@ on_softhsm SoftHsm $($($module $name)+)+);
        on_every_token!(@ on_kryoptic Kryoptic $($($module $name)+)+);
    };
    (@ $of:ident $kind:ident $($module:ident $name:ident)+) => {
        mod $of {
            use casemate_test_kit::tokens::Kind;
            use casemate_token_tests::with_token;

            $(
                #[test]
                fn $name() {
                    let name = concat!(stringify!($of), "::", stringify!($name));
                    with_token(Kind::$kind, name, crate::$module::$name);
                }
            )+
        }
    };
}

on_every_token! {
    every:
        material, import_rsa, import_ec, import_oct, rsa, ec, oct, random,
        imported_keys_do_what_the_software_engine_does_with_them,
        another_material_key_opens_nothing_and_the_same_one_does_after_a_restart,
        lost_sessions_are_opened_anew_within_the_same_call,
        objects_of_keys_that_nobody_has_are_destroyed,
        no_key_in_the_token_can_be_read_or_wrapped_by_another_user_of_it,
        a_wrong_pin_is_tried_once_and_exposed_or_missing_files_are_refused,
        a_planted_wrapping_key_is_refused,
        what_another_kind_of_token_wrapped_is_refused_with_its_mechanism,
        the_stored_form_is_the_one_that_is_written_down,
        many_threads_share_a_few_sessions;
    epochs:
        material_of_an_earlier_epoch_is_used_and_wrapped_anew_inside_the_token,
        what_is_not_of_a_known_epoch_or_place_is_not_wrapped_anew,
        the_key_of_an_earlier_epoch_only_unwraps,
        cut_off_between_the_two_keys_it_goes_on,
        an_hsm_that_is_put_back_wraps_with_its_key_again,
        forgotten_epochs_leave_nothing_in_the_token,
        a_planted_key_of_an_earlier_epoch_is_refused,
        a_token_that_keeps_keys_serves_and_begins_no_epoch,
        a_wrapping_key_that_the_token_keeps_stops_no_start,
        a_token_that_lost_an_earlier_key_serves_everything_else;
}
