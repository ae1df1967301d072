-- A window that slides over the uses of a key; see limiter.rs.
-- KEYS: the window. ARGV: 'take', 'look' or 'give_back'; the limit; the length of the window (µs); the caller's
-- time, or for 'give_back' the time when the use was taken (µs); 'server' to count by this server's clock, or
-- 'caller'; the most moments that are told apart.
-- Answers {1 if allowed, remaining, µs until one more is}.
--
-- The window is kept as a flat array of moments, the oldest first: when it was, how many uses, and the first
-- and the last of the callers' times, by which a use is found again that is given back.
local limit, length, said, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[6])
local now = said
if ARGV[5] == 'server' then
    local time = redis.call('TIME')
    now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function load()
    local packed = redis.pcall('GET', KEYS[1])
    if type(packed) ~= 'string' then
        return {}
    end
    local is_read, flat = pcall(cmsgpack.unpack, packed)
    if not is_read or type(flat) ~= 'table' or #flat % 4 ~= 0 then
        return {}
    end
    local moments = {}
    for i = 1, #flat, 4 do
        for j = i, i + 3 do
            if type(flat[j]) ~= 'number' then
                return {}
            end
        end
        moments[#moments + 1] = { at = flat[i], uses = flat[i + 1], first = flat[i + 2], last = flat[i + 3] }
    end
    return moments
end

local function save(moments)
    if #moments == 0 then
        redis.call('DEL', KEYS[1])
        return
    end
    local flat = {}
    for _, moment in ipairs(moments) do
        flat[#flat + 1] = moment.at
        flat[#flat + 1] = moment.uses
        flat[#flat + 1] = moment.first
        flat[#flat + 1] = moment.last
    end
    -- Somewhat longer than the window: the clock may be set back a little.
    redis.call('SET', KEYS[1], cmsgpack.pack(flat), 'PX', math.ceil(length / 1000) + 1000)
end

-- The moment that a use counts as: not before it, and few enough of them in a window.
local function moment_of(time)
    if limit <= most then
        return time
    end
    local grain = math.max(1, math.floor(length / most))
    return math.ceil(time / grain) * grain
end

local function add(moments, at, uses, first, last)
    local newest = moments[#moments]
    if newest and newest.at >= at then
        newest.uses = newest.uses + uses
        newest.first = math.min(newest.first, first)
        newest.last = math.max(newest.last, last)
    else
        moments[#moments + 1] = { at = at, uses = uses, first = first, last = last }
    end
end

-- Where the clock stepped back, uses that lie ahead count as of now. Then goes what has left the window.
-- Whether the clock did step back; then that must be kept, or the uses would count as of later and later moments.
local function slide(moments)
    local latest = moment_of(now)
    local ahead
    while #moments > 0 and moments[#moments].at > latest do
        local moment = table.remove(moments)
        if ahead then
            ahead.uses = ahead.uses + moment.uses
            ahead.first = math.min(ahead.first, moment.first)
            ahead.last = math.max(ahead.last, moment.last)
        else
            ahead = moment
        end
    end
    if ahead then
        add(moments, latest, ahead.uses, ahead.first, ahead.last)
    end
    while #moments > 0 and moments[1].at + length <= now do
        table.remove(moments, 1)
    end
    return ahead ~= nil
end

local moments = load()
if ARGV[1] == 'give_back' then
    for i = #moments, 1, -1 do
        local moment = moments[i]
        if moment.first <= said and said <= moment.last then
            moment.uses = moment.uses - 1
            if moment.uses <= 0 then
                table.remove(moments, i)
            end
            save(moments)
            break
        end
    end
    return { 1, 0, 0 }
end

local has_stepped_back = slide(moments)
local used = 0
for _, moment in ipairs(moments) do
    used = used + moment.uses
end
local is_allowed = used < limit
if is_allowed and ARGV[1] == 'take' then
    add(moments, moment_of(now), 1, said, said)
    used = used + 1
    save(moments)
elseif has_stepped_back then
    save(moments)
end
local frees_in = 0
if #moments > 0 then
    frees_in = moments[1].at + length - now
end
return { is_allowed and 1 or 0, math.max(limit - used, 0), frees_in }
