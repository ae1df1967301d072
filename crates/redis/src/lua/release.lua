-- Ends a lease if it stands.
-- KEYS: the lease. ARGV: its token.
if redis.pcall('GET', KEYS[1]) == ARGV[1] then
    redis.call('DEL', KEYS[1])
end
return 0
