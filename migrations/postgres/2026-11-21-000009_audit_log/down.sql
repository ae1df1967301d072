DROP TABLE failed_sign_ins;
DROP TABLE audit_head;
DROP TABLE audit_log;
