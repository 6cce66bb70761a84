-- What was given up is counted, and later listed, without a look at what was delivered (O4, O6).
CREATE INDEX outbound_undelivered ON outbound (n) WHERE state IN ('failed', 'abandoned');
