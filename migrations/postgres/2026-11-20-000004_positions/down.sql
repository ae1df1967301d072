DROP TABLE holdings;
DROP TABLE positions;
