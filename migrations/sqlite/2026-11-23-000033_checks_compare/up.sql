-- A list of three words or more is a table to SQLite, which it makes and fills each time that a row is checked against it: an
-- order made seven. The same checks as comparisons make none. No row is touched, and nothing else of the tables' texts, so they are
-- changed where they stand, as https://www.sqlite.org/lang_altertable.html#otheralter has it for checks.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql,
    'owner_kind IN (''user'', ''market'', ''maker'', ''treasury'', ''fees'')',
    '(owner_kind = ''user'' OR owner_kind = ''market'' OR owner_kind = ''maker'' OR owner_kind = ''treasury'' OR owner_kind = ''fees'')'
) WHERE type = 'table' AND name = 'accounts';
UPDATE sqlite_schema SET sql = replace(sql,
    'actor_kind IN (''user'', ''stranger'', ''system'')',
    '(actor_kind = ''user'' OR actor_kind = ''stranger'' OR actor_kind = ''system'')'
) WHERE type = 'table' AND name = 'audit_log';
UPDATE sqlite_schema SET sql = replace(sql,
    'state IN (''waiting'', ''running'', ''dead'', ''done'')',
    '(state = ''waiting'' OR state = ''running'' OR state = ''dead'' OR state = ''done'')'
) WHERE type = 'table' AND name = 'jobs';
UPDATE sqlite_schema SET sql = replace(sql,
    'status IN (''open'', ''halted'', ''closed'', ''proposed'', ''disputed'', ''resolved'', ''voided'')',
    '(status = ''open'' OR status = ''halted'' OR status = ''closed'' OR status = ''proposed'' OR status = ''disputed'' OR status = ''resolved'' OR status = ''voided'')'
) WHERE type = 'table' AND name = 'markets';
UPDATE sqlite_schema SET sql = replace(sql,
    'time_in_force IN (''gtc'', ''gtd'', ''ioc'', ''fok'')',
    '(time_in_force = ''gtc'' OR time_in_force = ''gtd'' OR time_in_force = ''ioc'' OR time_in_force = ''fok'')'
) WHERE type = 'table' AND name = 'orders';
UPDATE sqlite_schema SET sql = replace(sql,
    'self_trade_prevention IN (''cancel_newest'', ''cancel_oldest'', ''decrement'')',
    '(self_trade_prevention = ''cancel_newest'' OR self_trade_prevention = ''cancel_oldest'' OR self_trade_prevention = ''decrement'')'
) WHERE type = 'table' AND name = 'orders';
UPDATE sqlite_schema SET sql = replace(sql,
    'status IN (''open'', ''filled'', ''cancelled'', ''expired'')',
    '(status = ''open'' OR status = ''filled'' OR status = ''cancelled'' OR status = ''expired'')'
) WHERE type = 'table' AND name = 'orders';
UPDATE sqlite_schema SET sql = replace(sql,
    'end_reason IN (
            ''requested'', ''time_in_force'', ''self_trade'', ''market_closed'', ''expired'', ''user_deactivated'', ''disconnected'',
            ''group_full''
        )',
    '(end_reason = ''requested'' OR end_reason = ''time_in_force'' OR end_reason = ''self_trade'' OR end_reason = ''market_closed'' OR end_reason = ''expired'' OR end_reason = ''user_deactivated'' OR end_reason = ''disconnected'' OR end_reason = ''group_full'')'
) WHERE type = 'table' AND name = 'orders';
UPDATE sqlite_schema SET sql = replace(sql,
    'end_reason IN (''logged_out'', ''revoked'', ''replayed'', ''user_changed'', ''too_many'')',
    '(end_reason = ''logged_out'' OR end_reason = ''revoked'' OR end_reason = ''replayed'' OR end_reason = ''user_changed'' OR end_reason = ''too_many'')'
) WHERE type = 'table' AND name = 'sessions';
UPDATE sqlite_schema SET sql = replace(sql,
    'settlement IN (''transfer'', ''mint'', ''redeem'', ''rest'')',
    '(settlement = ''transfer'' OR settlement = ''mint'' OR settlement = ''redeem'' OR settlement = ''rest'')'
) WHERE type = 'table' AND name = 'trades';
UPDATE sqlite_schema SET sql = replace(sql,
    'kind IN (''grant'', ''payment'', ''trade'', ''fee'', ''mint'', ''redeem'', ''payout'', ''subsidy'', ''refund'')',
    '(kind = ''grant'' OR kind = ''payment'' OR kind = ''trade'' OR kind = ''fee'' OR kind = ''mint'' OR kind = ''redeem'' OR kind = ''payout'' OR kind = ''subsidy'' OR kind = ''refund'')'
) WHERE type = 'table' AND name = 'transfers';
UPDATE sqlite_schema SET sql = replace(sql,
    'role IN (''user'', ''moderator'', ''admin'')',
    '(role = ''user'' OR role = ''moderator'' OR role = ''admin'')'
) WHERE type = 'table' AND name = 'users';
UPDATE sqlite_schema SET sql = replace(sql,
    'status IN (''active'', ''suspended'', ''deactivated'')',
    '(status = ''active'' OR status = ''suspended'' OR status = ''deactivated'')'
) WHERE type = 'table' AND name = 'users';
UPDATE sqlite_schema SET sql = replace(sql,
    'state IN (''pending'', ''delivered'', ''failed'')',
    '(state = ''pending'' OR state = ''delivered'' OR state = ''failed'')'
) WHERE type = 'table' AND name = 'webhook_deliveries';
UPDATE sqlite_schema SET sql = replace(sql,
    'state IN (''enabled'', ''disabled'', ''gone'', ''failing'')',
    '(state = ''enabled'' OR state = ''disabled'' OR state = ''gone'' OR state = ''failing'')'
) WHERE type = 'table' AND name = 'webhooks';
-- The schema has changed for the other connections too where a table comes and goes, and for this one where it is read anew.
CREATE TABLE checks_changed (gone INTEGER) STRICT;
DROP TABLE checks_changed;
PRAGMA writable_schema = RESET;
