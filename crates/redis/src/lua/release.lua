-- Ends a lease if it stands.
-- KEYS: the lease. ARGV: its token.
-- Answers 1 if it stood.
if redis.pcall('GET', KEYS[1]) == ARGV[1] then
    return redis.call('DEL', KEYS[1])
end
return 0
